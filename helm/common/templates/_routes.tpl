{{/* common.ingressController: traefik, nginx or other; from the class unless ingress.controller names it. */}}
{{- define "common.ingressController" -}}
{{- $class := .Values.ingress.className -}}
{{- default (ternary "traefik" (ternary "nginx" "other" (contains "nginx" $class)) (contains "traefik" $class)) .Values.ingress.controller -}}
{{- end -}}

{{/* common.ingressPath: the path, by default /<name> where this chart can have the controller strip it, and else /. */}}
{{- define "common.ingressPath" -}}
{{- default (ternary "/" (printf "/%s" (include "common.name" .)) (eq (include "common.ingressController" .) "other")) .Values.ingress.path -}}
{{- end -}}

{{/*
common.ingress: an Ingress for any controller. No field of an Ingress strips the prefix from the path, so Traefik gets a
Middleware and ingress-nginx a regular expression. The path / needs neither.
*/}}
{{- define "common.ingress" -}}
{{- if .Values.ingress.enabled -}}
{{- $name := include "common.fullname" . -}}
{{- $path := include "common.ingressPath" . -}}
{{- $strips := ternary "" (include "common.ingressController" .) (eq $path "/") -}}
{{- $annotations := dict -}}
{{- if eq $strips "traefik" -}}
{{- $annotations = dict "traefik.ingress.kubernetes.io/router.middlewares" (printf "%s-%s-strip-prefix@kubernetescrd" .Release.Namespace $name) }}
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata:
  name: {{ $name }}-strip-prefix
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
spec:
  stripPrefix:
    prefixes:
      - {{ $path | quote }}
---
{{- else if eq $strips "nginx" -}}
{{- $annotations = dict "nginx.ingress.kubernetes.io/use-regex" "true" "nginx.ingress.kubernetes.io/rewrite-target" "/$2" -}}
{{- end }}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ $name }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
  {{- with merge $annotations .Values.ingress.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .Values.ingress.className }}
  ingressClassName: {{ . }}
  {{- end }}
  rules:
    - {{ with .Values.ingress.host }}host: {{ . | quote }}
      {{ end }}http:
        paths:
          {{- if eq $strips "nginx" }}
          - path: {{ printf "%s(/|$)(.*)" ($path | replace "." "\\.") | quote }}
            pathType: ImplementationSpecific
          {{- else }}
          - path: {{ $path | quote }}
            pathType: Prefix
          {{- end }}
            backend:
              service:
                name: {{ $name }}
                port:
                  name: http
  {{- with .Values.ingress.tlsSecret }}
  tls:
    - secretName: {{ . }}
      hosts:
        - {{ $.Values.ingress.host | quote }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/*
common.httproute: the same route for a Gateway API controller. It has all fields that the type's defaults would add in the
cluster, because Argo CD shows an added field of a custom resource as a difference from Git.
*/}}
{{- define "common.httproute" -}}
{{- if .Values.httpRoute.enabled -}}
{{- $path := default (printf "/%s" (include "common.name" .)) .Values.httpRoute.path -}}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {{ include "common.fullname" . }}
  namespace: {{ .Release.Namespace }}
  labels: {{- include "common.labels" . | nindent 4 }}
spec:
  parentRefs:
    {{- range .Values.httpRoute.parentRefs }}
    - {{ include "common.withDefaults" (list . (dict "group" "gateway.networking.k8s.io" "kind" "Gateway")) | indent 6 | trim }}
    {{- end }}
  {{- with .Values.httpRoute.hostnames }}
  hostnames: {{- toYaml . | nindent 4 }}
  {{- end }}
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: {{ $path | quote }}
      {{- if ne $path "/" }}
      filters:
        - type: URLRewrite
          urlRewrite:
            path:
              type: ReplacePrefixMatch
              replacePrefixMatch: /
      {{- end }}
      {{- with .Values.httpRoute.timeouts }}
      timeouts: {{- toYaml . | nindent 8 }}
      {{- end }}
      backendRefs:
        - group: ""
          kind: Service
          name: {{ include "common.fullname" . }}
          port: {{ int .Values.server.port }}
          weight: 1
{{- end -}}
{{- end -}}
