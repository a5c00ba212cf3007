{{/* The shared cache: its rules, variables, files and peers. All of them are empty without sharedCache.url. */}}

{{/* aux-service.sharedCacheValidate: no message repeats the URL, because it may contain a password. */}}
{{- define "aux-service.sharedCacheValidate" -}}
{{- $cache := .Values.sharedCache -}}
{{- $named := list -}}
{{- range $key := list "passwordSecret" "caConfigMap" "caSecret" "keySecret" -}}
{{- if (get $cache $key).name -}}
{{- $named = append $named $key -}}
{{- end -}}
{{- end -}}
{{- if empty $cache.url -}}
{{- range $named -}}
{{- fail (printf "sharedCache.%s: sharedCache.url is empty, so nothing uses it; set the URL of the engine, or remove the name" .) -}}
{{- end -}}
{{- else -}}
{{- if regexMatch "://[^@]*:[^@]*@" $cache.url -}}
{{- fail "sharedCache.url: contains a password, which everyone who may read the Deployment would see; put it into a Secret and set sharedCache.passwordSecret.name" -}}
{{- end -}}
{{- if and (regexMatch "^rediss?-sentinel:" $cache.url) (not (regexMatch "^[a-z-]+://[^/]+/[^/]+$" $cache.url)) -}}
{{- fail "sharedCache.url: Sentinel needs the name of the master, as redis-sentinel://host:26379/MASTER_NAME" -}}
{{- end -}}
{{- if not .Values.cache.enabled -}}
{{- fail "sharedCache.url: cache.enabled is false, so nothing would be shared; enable the cache, or remove the URL" -}}
{{- end -}}
{{- if and (has "caConfigMap" $named) (has "caSecret" $named) -}}
{{- fail "sharedCache.caConfigMap: sharedCache.caSecret is set as well; keep one of them" -}}
{{- end -}}
{{- if and (or (has "caConfigMap" $named) (has "caSecret" $named)) (not (regexMatch "^(rediss|valkeys)[:-]" $cache.url)) -}}
{{- fail "sharedCache.url: has no TLS, so the certificate authority would not be used; begin the URL with rediss, or remove the authority" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* aux-service.sharedCacheSettings: the whole quota of the account. AWS_RATE_* is one pod's share of the same quota. */}}
{{- define "aux-service.sharedCacheSettings" -}}
{{- $cache := .Values.sharedCache -}}
{{- if $cache.url }}
SHARED_CACHE_URL: {{ $cache.url | quote }}
SHARED_CACHE_PREFIX: {{ default (printf "%s/%s" .Release.Namespace .Release.Name) $cache.prefix | quote }}
SHARED_CACHE_TIMEOUT: {{ $cache.timeout | quote }}
SHARED_AWS_RATE_GET: {{ .Values.aws.quota.get | quote }}
SHARED_AWS_RATE_LIST: {{ .Values.aws.quota.list | quote }}
{{- if $cache.passwordSecret.name }}
SHARED_CACHE_PASSWORD_FILE: {{ printf "/run/secrets/shared-cache-password/%s" $cache.passwordSecret.key | quote }}
{{- end }}
{{- if $cache.keySecret.name }}
SHARED_CACHE_KEY_FILE: {{ printf "/run/secrets/shared-cache-key/%s" $cache.keySecret.key | quote }}
{{- end }}
{{- if $cache.caConfigMap.name }}
SHARED_CACHE_CA_FILE: {{ printf "/run/secrets/shared-cache-ca/%s" $cache.caConfigMap.key | quote }}
{{- else if $cache.caSecret.name }}
SHARED_CACHE_CA_FILE: {{ printf "/run/secrets/shared-cache-ca/%s" $cache.caSecret.key | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "aux-service.sharedCacheFiles" -}}
{{- $cache := .Values.sharedCache -}}
{{- if $cache.passwordSecret.name }}
{{- include "common.secretFile" (dict "name" "shared-cache-password" "mountPath" "/run/secrets/shared-cache-password" "secret" $cache.passwordSecret) }}
{{- end }}
{{- if $cache.keySecret.name }}
{{- include "common.secretFile" (dict "name" "shared-cache-key" "mountPath" "/run/secrets/shared-cache-key" "secret" $cache.keySecret) }}
{{- end }}
{{- if $cache.caSecret.name }}
{{- include "common.secretFile" (dict "name" "shared-cache-ca" "mountPath" "/run/secrets/shared-cache-ca" "secret" $cache.caSecret) }}
{{- else if $cache.caConfigMap.name }}
- name: shared-cache-ca
  mountPath: /run/secrets/shared-cache-ca
  volume:
    configMap:
      name: {{ $cache.caConfigMap.name }}
      defaultMode: 0440
      items:
        - key: {{ $cache.caConfigMap.key }}
          path: {{ $cache.caConfigMap.key }}
{{- end }}
{{- end -}}

{{- define "aux-service.sharedCacheCallee" -}}
{{- with .Values.sharedCache.url }}
# The engine of the shared cache.
- to:
    {{- range $.Values.networkPolicy.sharedCacheCidrs }}
    - ipBlock:
        cidr: {{ . | quote }}
    {{- else }}
    {{- include "common.peer" $.Values.networkPolicy.sharedCache | nindent 4 }}
    {{- end }}
  ports:
    {{- range include "aux-service.sharedCachePorts" . | fromYamlArray }}
    - port: {{ . }}
    {{- end }}
{{- end }}
{{- end -}}

{{/*
aux-service.sharedCachePorts: the port of the URL as a list. A Sentinel refers to the engine itself, which is on the usual port;
networkPolicy.extraEgress allows another one.
*/}}
{{- define "aux-service.sharedCachePorts" -}}
{{- $given := regexFind "[0-9]+$" (regexFind ":[0-9]+$" (urlParse .).host) -}}
{{- if contains "-sentinel:" . -}}
[{{ default "26379" $given }}, 6379]
{{- else -}}
[{{ default "6379" $given }}]
{{- end -}}
{{- end -}}
