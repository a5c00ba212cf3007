{{/* common.fullname: the chart's name unless overridden. It does not depend on the release's name, so that clients find the Service. */}}
{{- define "common.fullname" -}}
{{- default .Chart.Name .Values.fullnameOverride -}}
{{- end -}}

{{- define "common.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
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
{{- end -}}

{{- define "common.versionLabel" -}}
{{ include "common.tag" . | trunc 63 | trimAll "-_." | quote }}
{{- end -}}

{{- define "common.serviceAccountName" -}}
{{- default (ternary (include "common.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* common.tag: both services share one repository, so the tag names the service too. */}}
{{- define "common.tag" -}}
{{- default (printf "%s-%s" .Chart.Name .Chart.AppVersion) .Values.image.tag -}}
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

{{/* common.mostPods: the largest possible number of pods, a rolling update's extra ones included. */}}
{{- define "common.mostPods" -}}
{{- add (ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled | int) (int .Values.rollout.maxSurge) -}}
{{- end -}}
