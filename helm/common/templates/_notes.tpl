{{- /* common.notes: the three commands that come next, then short notes. */}}
{{- define "common.notes" -}}
{{- include "common.normalise" . -}}
{{- if .Values.enabled -}}
{{- $name := include "common.fullname" . -}}
{{- $route := include (printf "%s.testRoute" (include "common.program" .)) . -}}
{{- $auth := ternary " -H \"Authorization: Bearer $TOKEN\"" "" (not (empty .Values.auth.tokensSecret.name)) -}}
{{ $name }} runs {{ include "common.image" . }} in namespace {{ .Release.Namespace }}.

1. Wait until it is ready{{ with include (printf "%s.requiredSecret" (include "common.program" .)) . }}. The pods start once the Secret {{ . }} exists (below){{ end }}:

  kubectl -n {{ .Release.Namespace }} rollout status deployment/{{ $name }}

2. Send a request:
{{ with .Values.auth.tokensSecret }}{{ if .name }}
  TOKEN=$(kubectl -n {{ $.Release.Namespace }} get secret {{ .name }} -o jsonpath='{.data.{{ .key | replace "." "\\." }}}' | base64 -d | grep -m 1 '^[^#]')
{{- end }}{{ end }}
{{- if eq .Values.service.type "NodePort" }}
  NODE=$(kubectl get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
  {{- if .Values.service.nodePort }}
  PORT={{ int .Values.service.nodePort }}
  {{- else }}
  PORT=$(kubectl -n {{ .Release.Namespace }} get service {{ $name }} -o jsonpath='{.spec.ports[0].nodePort}')
  {{- end }}
  curl{{ $auth }} "http://$NODE:$PORT{{ $route }}"
{{ else if eq .Values.service.type "LoadBalancer" }}
  HOST=$(kubectl -n {{ .Release.Namespace }} get service {{ $name }} -o jsonpath='{.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}')
  curl{{ $auth }} "http://$HOST:{{ int .Values.server.port }}{{ $route }}"
{{ else }}
  kubectl -n {{ .Release.Namespace }} port-forward service/{{ $name }} {{ int .Values.server.port }} &
  curl{{ $auth }} http://127.0.0.1:{{ int .Values.server.port }}{{ $route }}
{{ end }}
3. Test it from inside the cluster:

  helm -n {{ .Release.Namespace }} test {{ .Release.Name }}
{{- include (printf "%s.notes" (include "common.program" .)) . }}
{{- if .Values.ingress.enabled }}

Through the Ingress:

  curl{{ $auth }} {{ ternary "http" "https" (empty .Values.ingress.tlsSecret) }}://{{ default "<node>" .Values.ingress.host }}{{ include "common.ingressPath" . | trimSuffix "/" }}{{ $route }}
{{- if and (eq (include "common.ingressController" .) "other") (ne (include "common.ingressPath" .) "/") }}

The controller has to strip {{ .Values.ingress.path }} from the path; add its annotation for that to ingress.annotations.
{{- end }}
{{- end }}
{{- if not (contains "/" .Values.image.repository) }}

image.repository names no registry. Unless the nodes already have this image, set it to
<account>.dkr.ecr.<region>.amazonaws.com/{{ .Values.image.repository }}.
{{- end }}
{{- if empty .Values.auth.tokensSecret.name }}

Requests need no token, because auth.tokensSecret.name is empty: every client that reaches the port is served.
{{- end }}
{{- end -}}
{{- end -}}
