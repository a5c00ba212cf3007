{{- define "argocd.repository" -}}
{{- required "repository: give the address of this project's Git repository (https://… or git@…) in helm/argocd/values.yaml, and push it, because Argo CD reads it there" .Values.repository -}}
{{- end -}}

{{/* argocd.cluster: the cluster that Argo CD runs in. */}}
{{- define "argocd.cluster" -}}https://kubernetes.default.svc{{- end -}}

{{/* argocd.namespaces: what is installed goes into these and no others. */}}
{{- define "argocd.namespaces" -}}
- aux-service
- main-api
- monitoring
{{- if .Values.images.renewPullSecret }}
- ecr-credentials
{{- end }}
{{- end -}}

{{/*
argocd.metadata: takes a list of the context, the name and the sync wave. The finalizer makes the deletion of an
application delete what it installed.
*/}}
{{- define "argocd.metadata" -}}
name: {{ index . 1 }}
namespace: {{ (index . 0).Release.Namespace }}
annotations:
  argocd.argoproj.io/sync-wave: {{ index . 2 | quote }}
finalizers:
  - resources-finalizer.argocd.argoproj.io
{{- end -}}

{{/* argocd.destination: takes a namespace. */}}
{{- define "argocd.destination" -}}
server: {{ include "argocd.cluster" . }}
namespace: {{ . }}
{{- end -}}

{{/*
argocd.syncPolicy: takes the options beside server-side apply, which every application has: CRDs and large dashboards
outgrow the annotation in which a client-side apply keeps its copy. It is tried again without end, because what is
missing may still be installed, and always with what Git says by then.
*/}}
{{- define "argocd.syncPolicy" -}}
automated:
  prune: true
  selfHeal: true
retry:
  limit: -1
  refresh: true
  backoff:
    duration: 10s
    factor: 2
    maxDuration: 5m
syncOptions:
  - ServerSideApply=true
  {{- range . }}
  - {{ . }}
  {{- end }}
{{- end -}}

{{/* argocd.chart: an application for one chart of this repository; takes a list of the context, the chart's name and its values. */}}
{{- define "argocd.chart" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $values := index . 2 -}}
{{- $scaled := dig "autoscaling" "enabled" false $values -}}
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{- include "argocd.metadata" (list $root $name 0) | nindent 2 }}
spec:
  project: cached-gateway
  source:
    repoURL: {{ include "argocd.repository" $root }}
    targetRevision: {{ $root.Values.revision }}
    path: helm/{{ $name }}
    helm:
      releaseName: {{ $name }}
      valuesObject: {{- toYaml $values | nindent 8 }}
  destination: {{- include "argocd.destination" $name | nindent 4 }}
  {{- if $scaled }}
  # The autoscaler's, not Git's.
  ignoreDifferences:
    - group: apps
      kind: Deployment
      jsonPointers: [/spec/replicas]
  {{- end }}
  syncPolicy:
    {{- /* Where the type of a ServiceMonitor is not there yet, it alone fails and is tried again; the service runs meanwhile. */}}
    {{- include "argocd.syncPolicy" (concat (list "CreateNamespace=true" "SkipDryRunOnMissingResource=true") (ternary (list "RespectIgnoreDifferences=true") list $scaled)) | nindent 4 }}
    # The charts' pods keep to this Pod Security Standard; whatever else comes in does not.
    managedNamespaceMetadata:
      labels:
        pod-security.kubernetes.io/enforce: restricted
{{- end -}}
