{{/* common.testLabels: labels outside of the Service's selector, so that the Service sends no requests to the test's pod. */}}
{{- define "common.testLabels" -}}
app.kubernetes.io/name: {{ include "common.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* common.test: the pod of `helm test`. It sends requests through the Service and prints a problem response. */}}
{{- define "common.test" -}}
{{- $name := include "common.fullname" . -}}
{{- $url := printf "http://%s:%d" $name (int .Values.server.port) -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ $name }}-test
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "common.testLabels" . | nindent 4 }}
    {{- include "common.metaLabels" . | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext: {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: curl
      image: {{ .Values.test.image | quote }}
      env:
        - name: URL
          value: {{ $url | quote }}
        - name: PROBE_URL
          value: {{ ternary (printf "http://%s-admin:%d" $name (int .Values.server.adminPort)) $url (gt (int .Values.server.adminPort) 0) | quote }}
        - name: ROUTE
          value: {{ include (printf "%s.testRoute" (include "common.program" .)) . | quote }}
        {{- if .Values.auth.tokensSecret.name }}
        - name: TOKEN_FILE
          value: {{ printf "/run/secrets/auth/%s" .Values.auth.tokensSecret.key | quote }}
        {{- end }}
      command: ["/bin/sh", "-euc"]
      args:
        - |
          token=$(grep -m 1 '^[^#]' "${TOKEN_FILE:-/dev/null}" || true)
          get() {
            echo "GET $1" >&2
            curl --fail-with-body --silent --show-error --max-time 20 --retry 3 --retry-connrefused --retry-max-time 60 \
              ${token:+--header "Authorization: Bearer $token"} "$1"
            echo
          }
          get "$PROBE_URL/livez"
          get "$PROBE_URL/readyz"
          get "$PROBE_URL/metrics" | grep '^build_info'
          get "$URL$ROUTE"
      resources:
        requests:
          cpu: 10m
          memory: 16Mi
        limits:
          memory: 64Mi
      securityContext: {{- toYaml .Values.containerSecurityContext | nindent 8 }}
      {{- if .Values.auth.tokensSecret.name }}
      volumeMounts:
        - name: auth-tokens
          mountPath: /run/secrets/auth
          readOnly: true
  volumes:
    - name: auth-tokens
      secret:
        secretName: {{ .Values.auth.tokensSecret.name }}
        defaultMode: 0440
      {{- end }}
{{- end -}}
