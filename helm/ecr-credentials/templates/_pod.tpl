{{- define "ecr-credentials.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* ecr-credentials.job: the spec that the CronJob and the first run share. */}}
{{- define "ecr-credentials.job" -}}
{{- include "common.awsCredentialsValidate" . -}}
{{- $_ := required "registry: give the address of the ECR registry (Terraform's output ecr_registry)" .Values.registry -}}
backoffLimit: 3
activeDeadlineSeconds: 300
template:
  metadata:
    labels: {{- include "ecr-credentials.labels" . | nindent 6 }}
  spec:
    restartPolicy: Never
    serviceAccountName: {{ .Chart.Name }}
    automountServiceAccountToken: false
    enableServiceLinks: false
    securityContext: {{- toYaml .Values.podSecurityContext | nindent 6 }}
    {{- with include "common.awsCredentialsSidecars" . | trim }}
    initContainers: {{- . | nindent 6 }}
    {{- end }}
    containers:
      - name: renew
        image: {{ .Values.image | quote }}
        imagePullPolicy: IfNotPresent
        command: ["/bin/sh", "-euc"]
        args:
          - |
            {{- .Files.Get "renew.sh" | nindent 12 }}
        env:
          - name: REGISTRY
            value: {{ .Values.registry | quote }}
          - name: SECRET_NAME
            value: {{ .Values.secretName | quote }}
          - name: NAMESPACES
            value: {{ join " " .Values.namespaces | quote }}
          - name: AWS_REGION
            value: {{ regexReplaceAll "^[0-9]+\\.dkr[.-]ecr(-fips)?\\.([a-z0-9-]+)\\..*$" .Values.registry "${2}" | quote }}
          {{- range $name, $value := include "common.awsCredentialsSettings" . | fromYaml }}
          - name: {{ $name }}
            value: {{ $value | quote }}
          {{- end }}
          {{- include "common.awsCredentialsSecretEnv" . | nindent 10 }}
        resources: {{- toYaml .Values.resources | nindent 10 }}
        securityContext: {{- toYaml .Values.containerSecurityContext | nindent 10 }}
        volumeMounts:
          - name: kubernetes-token
            mountPath: /var/run/secrets/kubernetes.io/serviceaccount
            readOnly: true
          {{- range include "common.awsCredentialsFiles" . | fromYamlArray }}
          - name: {{ .name }}
            mountPath: {{ .mountPath }}
            readOnly: true
          {{- end }}
    volumes:
      # Only this pod uses Kubernetes' API, so only it mounts a token, which is valid for ten minutes.
      - name: kubernetes-token
        projected:
          defaultMode: 0440
          sources:
            - serviceAccountToken:
                expirationSeconds: 600
                path: token
            - configMap:
                name: kube-root-ca.crt
                items:
                  - key: ca.crt
                    path: ca.crt
      {{- range include "common.awsCredentialsFiles" . | fromYamlArray }}
      - name: {{ .name }}
        {{- toYaml .volume | nindent 8 }}
      {{- end }}
      {{- include "common.awsCredentialsSidecarVolumes" . | nindent 6 }}
{{- end -}}
