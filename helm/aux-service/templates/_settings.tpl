{{/* The templates that the library chart includes. Each name begins with the chart's, because Helm's template names are global. */}}

{{- define "aux-service.validate" -}}
{{- $v := .Values -}}
{{- if eq $v.backend "aws" -}}
{{- include "common.awsCredentialsValidate" . -}}
{{- else if eq $v.environment "production" -}}
{{- fail "backend: embedded serves fixed values instead of AWS's; set environment: development to use it" -}}
{{- end -}}
{{- if and (ne $v.backend "embedded") (not (empty $v.embedded)) -}}
{{- fail (printf "embedded: backend is %q, which does not use it; set backend: embedded, or remove embedded" $v.backend) -}}
{{- end -}}
{{- if and $v.warmUp.names (not $v.cache.enabled) -}}
{{- fail "warmUp.names: cache.enabled is false, so nothing can be loaded at the start; remove the names or enable the cache" -}}
{{- end -}}
{{- include "aux-service.sharedCacheValidate" . -}}
{{- include "aux-service.changeQueueValidate" . -}}
{{- include "common.shorter" (list "aws.attemptTimeout" $v.aws.attemptTimeout "aws.operationTimeout" $v.aws.operationTimeout) -}}
{{- include "common.shorter" (list "aws.operationTimeout" $v.aws.operationTimeout "requests.timeout" $v.requests.timeout) -}}
{{- include "common.shorter" (list "aws.operationTimeout" $v.aws.operationTimeout "aws.listTimeout" $v.aws.listTimeout) -}}
{{- end -}}

{{- define "aux-service.settings" -}}
BACKEND: {{ .Values.backend | quote }}
{{- with .Values.version }}
AUX_VERSION: {{ . | quote }}
{{- end }}
CACHE_TTL: {{ .Values.cache.ttl | quote }}
CACHE_STALE_WHILE_REVALIDATE: {{ .Values.cache.staleWhileRevalidate | quote }}
CACHE_STALE_IF_ERROR: {{ .Values.cache.staleIfError | quote }}
CACHE_NEGATIVE_TTL: {{ .Values.cache.negativeTtl | quote }}
CACHE_TTL_JITTER: {{ .Values.cache.ttlJitter | quote }}
PARAMETER_PREFIXES: {{ join "," .Values.parameters.prefixes | quote }}
ALLOW_SECURE_STRINGS: {{ .Values.parameters.allowSecureStrings | quote }}
AWS_ATTEMPT_TIMEOUT: {{ .Values.aws.attemptTimeout | quote }}
AWS_OPERATION_TIMEOUT: {{ .Values.aws.operationTimeout | quote }}
AWS_LIST_TIMEOUT: {{ .Values.aws.listTimeout | quote }}
AWS_CREDENTIALS_TIMEOUT: {{ .Values.aws.credentialsTimeout | quote }}
{{- with .Values.warmUp.names }}
WARM_UP: {{ join "," . | quote }}
{{- end }}
WARM_UP_TIMEOUT: {{ .Values.warmUp.timeout | quote }}
AWS_RATE_GET: {{ include "aux-service.share" (list . "aws.quota.get" .Values.aws.quota.get) | quote }}
AWS_RATE_LIST: {{ include "aux-service.share" (list . "aws.quota.list" .Values.aws.quota.list) | quote }}
{{- include "aux-service.sharedCacheSettings" . }}
{{- with .Values.changeQueue.url }}
CHANGE_QUEUE_URL: {{ . | quote }}
{{- end }}
{{- if eq .Values.backend "aws" }}
AWS_REGION: {{ .Values.aws.region | quote }}
{{- with .Values.aws.endpointUrl }}
AWS_ENDPOINT_URL: {{ . | quote }}
{{- end }}
{{- include "common.awsCredentialsSettings" . }}
{{- else if .Values.embedded }}
EMBEDDED_FILE: /etc/aux-service/embedded.yaml
{{- end }}
{{- end -}}

{{/* aux-service.changeQueueValidate: a queue needs AWS, a cache, and an engine that carries each change to all pods. */}}
{{- define "aux-service.changeQueueValidate" -}}
{{- $v := .Values -}}
{{- if $v.changeQueue.url -}}
{{- if ne $v.backend "aws" -}}
{{- fail (printf "changeQueue.url: backend is %q, whose parameters never change; set backend: aws, or remove the URL" $v.backend) -}}
{{- end -}}
{{- if not $v.cache.enabled -}}
{{- fail "changeQueue.url: cache.enabled is false, so every request reads AWS's own value; remove the URL or enable the cache" -}}
{{- end -}}
{{- $key := ternary "autoscaling.maxReplicas" "replicas" $v.autoscaling.enabled -}}
{{- $pods := ternary $v.autoscaling.maxReplicas $v.replicas $v.autoscaling.enabled | int -}}
{{- if and (gt $pods 1) (empty $v.sharedCache.url) -}}
{{- fail (printf "changeQueue.url: %s is %d and sharedCache.url is empty. The queue gives each message to one pod, so the other pods would not learn of the change; set sharedCache.url, or run one pod" $key $pods) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
aux-service.share: one pod's share of the account's quota, rounded down so that all pods together stay within it.
The argument is a list of the context, the key and the quota. 0 means no limit, so a share must not round to 0.
*/}}
{{- define "aux-service.share" -}}
{{- $pods := include "common.mostPods" (index . 0) | int -}}
{{- $quota := index . 2 | float64 -}}
{{- $share := divf (floor (mulf (divf $quota $pods) 100)) 100 -}}
{{- if and (gt $quota 0.0) (eq $share 0.0) -}}
{{- fail (printf "%s: %v calls a second cannot be divided among %d pods; lower replicas or autoscaling.maxReplicas" (index . 1) (index . 2) $pods) -}}
{{- end -}}
{{- $share -}}
{{- end -}}

{{- define "aux-service.secretEnv" -}}
{{- if eq .Values.backend "aws" }}{{ include "common.awsCredentialsSecretEnv" . }}{{ end -}}
{{- end -}}

{{- define "aux-service.files" -}}
{{- if eq .Values.backend "aws" }}
{{- include "common.awsCredentialsFiles" . }}
{{- else if .Values.embedded }}
- name: embedded
  mountPath: /etc/aux-service
  volume:
    configMap:
      name: {{ include "common.fullname" . }}-embedded
{{- end }}
{{- include "aux-service.sharedCacheFiles" . }}
{{- end -}}

{{- define "aux-service.serviceAccountAnnotations" -}}
{{- if eq .Values.backend "aws" }}{{ include "common.awsCredentialsAnnotations" . }}{{ end -}}
{{- end -}}

{{- define "aux-service.sidecars" -}}
{{- if eq .Values.backend "aws" }}{{ include "common.awsCredentialsSidecars" . }}{{ end -}}
{{- end -}}

{{- define "aux-service.sidecarVolumes" -}}
{{- if eq .Values.backend "aws" }}{{ include "common.awsCredentialsSidecarVolumes" . }}{{ end -}}
{{- end -}}

{{/* aux-service.podAnnotations: a change of the embedded values has to restart the pods, which read them at start only. */}}
{{- define "aux-service.podAnnotations" -}}
{{- if .Values.embedded -}}
checksum/embedded: {{ toYaml .Values.embedded | sha256sum }}
{{- end -}}
{{- end -}}

{{- define "aux-service.manifests" -}}
{{- if .Values.embedded -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "common.fullname" . }}-embedded
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
data:
  embedded.yaml: |
    {{- toYaml .Values.embedded | nindent 4 }}
{{- end -}}
{{- end -}}

{{- define "aux-service.testRoute" -}}/buckets{{- end -}}

{{- define "aux-service.callers" -}}
# main-api calls.
- from:
    {{- include "common.peer" .Values.networkPolicy.mainApi | nindent 4 }}
  ports:
    - port: http
{{- end -}}

{{- define "aux-service.callees" -}}
{{- if eq .Values.backend "aws" }}
# AWS, the queue of changes included: allowed by port, because its addresses change.
- to:
    {{- range .Values.networkPolicy.awsCidrs }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- end }}
  ports:
    - port: {{ include "common.urlPort" (default "https://aws" .Values.aws.endpointUrl) }}
{{- if eq .Values.aws.credentials.from "ambient" }}
# The instance's metadata service and EKS's pod identity agent, which issue credentials.
- to:
    - ipBlock:
        cidr: 169.254.169.254/32
    - ipBlock:
        cidr: 169.254.170.23/32
  ports:
    - port: 80
{{- end }}
{{- end }}
{{- include "aux-service.sharedCacheCallee" . }}
{{- end -}}

{{/* aux-service.requiredSecret: the Secret that the pods wait for and that the operator creates by hand, or nothing. */}}
{{- define "aux-service.requiredSecret" -}}
{{- if and (eq .Values.backend "aws") (eq .Values.aws.credentials.from "secret") -}}
{{ .Values.aws.credentials.secretName }}
{{- end -}}
{{- end -}}

{{- define "aux-service.notes" -}}
{{- with include "aux-service.requiredSecret" . }}

The Secret {{ . }} holds the credentials for AWS:

  kubectl -n {{ $.Release.Namespace }} create secret generic {{ . }} \
    --from-literal=AWS_ACCESS_KEY_ID="$ID" --from-literal=AWS_SECRET_ACCESS_KEY="$KEY"
{{- end -}}
{{- end -}}
