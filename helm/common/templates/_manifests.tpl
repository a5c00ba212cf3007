{{/* common.manifests: all objects of a service's chart, in this order. */}}
{{- define "common.manifests" -}}
{{- include "common.normalise" . -}}
{{- if .Values.enabled -}}
{{- include "common.validate" . -}}
{{- range $kind := list "serviceaccount" "deployment" "service" "disruptionbudget" "autoscaler" "networkpolicy" "ingress" "httproute" "servicemonitor" "test" -}}
{{- with include (printf "common.%s" $kind) $ | trim }}
---
{{ . }}
{{- end -}}
{{- end -}}
{{- with include (printf "%s.manifests" (include "common.program" .)) . | trim }}
---
{{ . }}
{{- end -}}
{{- end -}}
{{- end -}}
