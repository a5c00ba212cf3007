{{/* common.files: the container's mounts, as a list of name, mountPath and volume. */}}
{{- define "common.files" -}}
{{- with .Values.auth.tokensSecret }}
{{- if .name }}
{{- include "common.secretFile" (dict "name" "auth-tokens" "mountPath" "/run/secrets/auth" "secret" .) }}
{{- end }}
{{- end }}
{{- include (printf "%s.files" (include "common.program" .)) . }}
{{- end -}}

{{/* common.secretFile: one key of a Secret as a file. The mount is the folder, because a mounted file would not receive a changed Secret. */}}
{{- define "common.secretFile" }}
- name: {{ .name }}
  mountPath: {{ .mountPath }}
  volume:
    secret:
      secretName: {{ .secret.name }}
      defaultMode: 0440
      items:
        - key: {{ .secret.key }}
          path: {{ .secret.key }}
{{- end -}}

{{- define "common.volumes" -}}
{{- range include "common.files" . | fromYamlArray }}
- name: {{ .name }}
  {{- toYaml .volume | nindent 2 }}
{{- end }}
{{- include (printf "%s.sidecarVolumes" (include "common.program" .)) . }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "common.volumeMounts" -}}
{{- range include "common.files" . | fromYamlArray }}
- name: {{ .name }}
  mountPath: {{ .mountPath }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
