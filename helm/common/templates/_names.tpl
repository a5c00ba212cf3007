{{/* common.program: the program's name. `.Chart.Name` is another name where the chart is a dependency with an alias. */}}
{{- define "common.program" -}}
{{- .Chart.Annotations.program -}}
{{- end -}}

{{/* common.name: the name in labels and selectors. */}}
{{- define "common.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{/* common.fullname: the name of all objects. It does not depend on the release's name, so that clients find the Service. */}}
{{- define "common.fullname" -}}
{{- default (include "common.name" .) .Values.fullnameOverride -}}
{{- end -}}

{{- define "common.selectorLabels" -}}
app.kubernetes.io/name: {{ include "common.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "common.labels" -}}
{{ include "common.selectorLabels" . }}
{{ include "common.metaLabels" . }}
{{- end -}}

{{/* common.metaLabels: the labels that no selector uses. */}}
{{- define "common.metaLabels" -}}
app.kubernetes.io/version: {{ include "common.versionLabel" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "common.versionLabel" -}}
{{ include "common.tag" . | trunc 63 | trimAll "-_." | quote }}
{{- end -}}

{{- define "common.serviceAccountName" -}}
{{- default (ternary (include "common.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* common.tag: both services share one repository, so the tag names the service too. */}}
{{- define "common.tag" -}}
{{- default (printf "%s-%s" (include "common.program" .) .Chart.AppVersion) .Values.image.tag -}}
{{- end -}}

{{- define "common.image" -}}
{{- printf "%s:%s" .Values.image.repository (include "common.tag" .) -}}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* common.pullPolicy: a tag that moves has to be resolved at every start; any other is pulled once. */}}
{{- define "common.pullPolicy" -}}
{{- default (ternary "Always" "IfNotPresent" (and (eq (include "common.tagMoves" .) "true") (empty .Values.image.digest))) .Values.image.pullPolicy -}}
{{- end -}}

{{- define "common.tagMoves" -}}
{{- regexMatch "(^|-)latest$" (include "common.tag" .) -}}
{{- end -}}

{{/* common.probePort: the name of the container's port for probes and /metrics. */}}
{{- define "common.probePort" -}}
{{- ternary "admin" "http" (gt (int .Values.server.adminPort) 0) -}}
{{- end -}}

{{/* common.mostPods: the largest possible number of pods, a rolling update's extra ones included. Kubernetes rounds a percentage up. */}}
{{- define "common.mostPods" -}}
{{- $pods := ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled | int -}}
{{- $surge := toString .Values.rollout.maxSurge -}}
{{- if hasSuffix "%" $surge -}}
{{- add $pods (divf (mul $pods (trimSuffix "%" $surge | int)) 100 | ceil) -}}
{{- else -}}
{{- add $pods (int $surge) -}}
{{- end -}}
{{- end -}}

{{/*
common.replicas: with autoscaling, the number that is running, and at least minReplicas. Without the field the API server would
reduce the pods to one. Only `helm install` and `helm upgrade` see what is running; Argo CD preserves the running number by
ignoreDifferences (helm/argocd).
*/}}
{{- define "common.replicas" -}}
{{- if .Values.autoscaling.enabled -}}
{{- $running := lookup "apps/v1" "Deployment" .Release.Namespace (include "common.fullname" .) | dig "spec" "replicas" 0 -}}
{{- max (int $running) (int .Values.autoscaling.minReplicas) -}}
{{- else -}}
{{- int .Values.replicas -}}
{{- end -}}
{{- end -}}
