{{/*
common.normalise: gives every value that is null its default, as if the key were absent. Helm removes the default of a key whose
value is null (`podAnnotations:` with nothing behind it), so a template would fail at its first use. defaults.json holds the
defaults again, because a template cannot read values.yaml.
*/}}
{{- define "common.normalise" -}}
{{- include "common.dropNulls" .Values -}}
{{- include "common.fill" (list .Values (.Files.Get "defaults.json" | fromJson)) -}}
{{- end -}}

{{- define "common.dropNulls" -}}
{{- $map := . -}}
{{- range $key, $value := $map -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $map $key -}}
{{- else if kindIs "map" $value -}}
{{- include "common.dropNulls" $value -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
common.fill: adds missing keys. The argument is a list of the values and the defaults. In labels and in Kubernetes' own objects
null removes a key, for example `resources: {limits: null}`.
*/}}
{{- define "common.fill" -}}
{{- $values := index . 0 -}}
{{- range $key, $default := index . 1 -}}
{{- if not (hasKey $values $key) -}}
{{- $_ := set $values $key $default -}}
{{- else if and (kindIs "map" $default) (not (has $key (list "resources" "podSecurityContext" "containerSecurityContext" "labels" "podLabels"))) -}}
{{- include "common.fill" (list (get $values $key) $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* common.withDefaults: a map with missing keys added, as YAML. The argument is a list of the map and the defaults. */}}
{{- define "common.withDefaults" -}}
{{- $map := deepCopy (index . 0) -}}
{{- range $key, $default := index . 1 -}}
{{- if not (hasKey $map $key) -}}
{{- $_ := set $map $key $default -}}
{{- end -}}
{{- end -}}
{{- toYaml $map -}}
{{- end -}}
