{{/*
A pod's AWS credentials, for a value of the form {from, secretName, roleArn, rolesAnywhere}:
from a Secret, from a role by the ServiceAccount's token, from IAM Roles Anywhere, or from the pod's environment (ambient).
*/}}

{{- define "common.awsCredentialsValidate" -}}
{{- $c := .Values.aws.credentials -}}
{{- if and (has $c.from (list "role" "rolesAnywhere")) (empty $c.roleArn) -}}
{{- fail (printf "aws.credentials.roleArn: aws.credentials.from is %q; set it to the role to assume" $c.from) -}}
{{- end -}}
{{- if and (eq $c.from "secret") (empty $c.secretName) -}}
{{- fail "aws.credentials.secretName: aws.credentials.from is \"secret\"; set it to the Secret's name" -}}
{{- end -}}
{{- if eq $c.from "rolesAnywhere" -}}
{{- range list "trustAnchorArn" "profileArn" "certificateSecret" -}}
{{- if empty (get $c.rolesAnywhere .) -}}
{{- fail (printf "aws.credentials.rolesAnywhere.%s: aws.credentials.from is \"rolesAnywhere\"; set it" .) -}}
{{- end -}}
{{- end -}}
{{- if semverCompare "<1.29-0" .Capabilities.KubeVersion.Version -}}
{{- fail (printf "aws.credentials.from: rolesAnywhere needs sidecar containers, and so Kubernetes 1.29; this cluster is %s" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* common.awsCredentialsSettings: the variables as a map. With a Secret or a role, the SDK must not fall back to the node's role. */}}
{{- define "common.awsCredentialsSettings" -}}
{{- $c := .Values.aws.credentials }}
{{- if eq $c.from "role" }}
AWS_ROLE_ARN: {{ $c.roleArn | quote }}
AWS_WEB_IDENTITY_TOKEN_FILE: /var/run/secrets/eks.amazonaws.com/serviceaccount/token
{{- end }}
{{- if eq $c.from "rolesAnywhere" }}
AWS_EC2_METADATA_SERVICE_ENDPOINT: http://127.0.0.1:9911
{{- else if ne $c.from "ambient" }}
AWS_EC2_METADATA_DISABLED: "true"
{{- end }}
{{- end -}}

{{- define "common.awsCredentialsSecretEnv" -}}
{{- if eq .Values.aws.credentials.from "secret" }}
{{- range $name, $optional := dict "AWS_ACCESS_KEY_ID" false "AWS_SECRET_ACCESS_KEY" false "AWS_SESSION_TOKEN" true }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.aws.credentials.secretName }}
      key: {{ $name }}
      optional: {{ $optional }}
{{- end }}
{{- end }}
{{- end -}}

{{/* common.awsCredentialsFiles: the token has the name and path of EKS's webhook, so that the webhook does not add a second one. */}}
{{- define "common.awsCredentialsFiles" -}}
{{- if eq .Values.aws.credentials.from "role" }}
- name: aws-iam-token
  mountPath: /var/run/secrets/eks.amazonaws.com/serviceaccount
  volume:
    projected:
      defaultMode: 0440
      sources:
        - serviceAccountToken:
            audience: sts.amazonaws.com
            expirationSeconds: 3600
            path: token
{{- end }}
{{- end -}}

{{- define "common.awsCredentialsAnnotations" -}}
{{- if eq .Values.aws.credentials.from "role" -}}
eks.amazonaws.com/role-arn: {{ .Values.aws.credentials.roleArn | quote }}
{{- end -}}
{{- end -}}

{{/* common.awsCredentialsSidecars: AWS's signing helper serves the API of the instance metadata service on loopback. */}}
{{- define "common.awsCredentialsSidecars" -}}
{{- if eq .Values.aws.credentials.from "rolesAnywhere" }}
{{- $c := .Values.aws.credentials }}
- name: aws-signing-helper
  image: {{ $c.rolesAnywhere.image | quote }}
  imagePullPolicy: IfNotPresent
  restartPolicy: Always
  args:
    - serve
    - --port=9911
    - --certificate=/run/secrets/rolesanywhere/tls.crt
    - --private-key=/run/secrets/rolesanywhere/tls.key
    - --trust-anchor-arn={{ $c.rolesAnywhere.trustAnchorArn }}
    - --profile-arn={{ $c.rolesAnywhere.profileArn }}
    - --role-arn={{ $c.roleArn }}
  resources:
    requests:
      cpu: 10m
      memory: 32Mi
    limits:
      memory: 128Mi
  securityContext: {{- toYaml .Values.containerSecurityContext | nindent 4 }}
  volumeMounts:
    - name: rolesanywhere-certificate
      mountPath: /run/secrets/rolesanywhere
      readOnly: true
{{- end }}
{{- end -}}

{{- define "common.awsCredentialsSidecarVolumes" -}}
{{- if eq .Values.aws.credentials.from "rolesAnywhere" }}
- name: rolesanywhere-certificate
  secret:
    secretName: {{ .Values.aws.credentials.rolesAnywhere.certificateSecret }}
    defaultMode: 0440
{{- end }}
{{- end -}}
