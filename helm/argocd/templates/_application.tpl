{{- define "argocd.repository" -}}
{{- required "repository: give the address of this project's Git repository (https://… or git@…) in helm/argocd/values.yaml, and push it, because Argo CD reads it there" .Values.repository -}}
{{- end -}}

{{/*
argocd.runbook: the address of docs/runbook.md in a browser, as GitHub and GitLab form it: https://<host>/<path>/blob/<revision>/…
*/}}
{{- define "argocd.runbook" -}}
{{- $page := include "argocd.repository" . | trimSuffix "/" | trimSuffix ".git" -}}
{{- if hasPrefix "http" $page -}}
{{- $page = regexReplaceAll "^(https?://)[^@/]*@" $page "${1}" -}}
{{- else -}}
{{- $page = regexReplaceAll "^(?:ssh://)?(?:[^@/]+@)?([^:/]+)(?::[0-9]+/|[:/])" $page "https://${1}/" -}}
{{- end -}}
{{- printf "%s/blob/%s/docs/runbook.md" $page .Values.revision -}}
{{- end -}}

{{/* argocd.cluster: the cluster that Argo CD runs in. */}}
{{- define "argocd.cluster" -}}https://kubernetes.default.svc{{- end -}}

{{/*
argocd.namespaces: the only namespaces that applications may install into. valkey is one of them also while it is off, or Argo CD
could not delete what it had installed there.
*/}}
{{- define "argocd.namespaces" -}}
- aux-service
- main-api
- monitoring
- valkey
{{- if .Values.images.renewPullSecret }}
- ecr-credentials
{{- end }}
{{- end -}}

{{/*
argocd.metadata: the argument is a list of the context, the name and the sync wave. With the finalizer, Argo CD deletes an
application's objects together with the application.
*/}}
{{- define "argocd.metadata" -}}
name: {{ index . 1 }}
namespace: {{ (index . 0).Release.Namespace }}
annotations:
  argocd.argoproj.io/sync-wave: {{ index . 2 | quote }}
finalizers:
  - resources-finalizer.argocd.argoproj.io
{{- end -}}

{{/* argocd.destination: the argument is a namespace. */}}
{{- define "argocd.destination" -}}
server: {{ include "argocd.cluster" . }}
namespace: {{ . }}
{{- end -}}

{{/*
argocd.syncPolicy: the argument is a list of further sync options. Every application uses server-side apply, because CRDs and
large dashboards exceed the annotation of a client-side apply. Retries have no limit, because a missing object may be installed
later, and each retry uses the newest commit.
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

{{/* argocd.chart: an application for one chart of this repository. The argument is a list of the context, the chart's name and its values. */}}
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
  # The autoscaler sets the number of replicas.
  ignoreDifferences:
    - group: apps
      kind: Deployment
      jsonPointers: [/spec/replicas]
  {{- end }}
  syncPolicy:
    {{- /* Before the type ServiceMonitor is installed, only the ServiceMonitor fails and is retried; the service runs meanwhile. */}}
    {{- include "argocd.syncPolicy" (concat (list "CreateNamespace=true" "SkipDryRunOnMissingResource=true") (ternary (list "RespectIgnoreDifferences=true") list $scaled)) | nindent 4 }}
    {{- include "argocd.restrictedNamespace" . | nindent 4 }}
{{- end -}}

{{- define "argocd.restrictedNamespace" -}}
# The charts' pods comply with this Pod Security Standard; the namespace rejects other pods.
managedNamespaceMetadata:
  labels:
    pod-security.kubernetes.io/enforce: restricted
{{- end -}}
