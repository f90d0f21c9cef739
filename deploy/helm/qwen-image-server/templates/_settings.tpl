{{/* The settings of one model's server as YAML: what the chart sets unless `settings` do, and those. */}}
{{- define "server.settings" -}}
{{- $settings := .model.settings | default dict -}}
{{- range $fixed, $instead := dict "MODEL" "model" "API_KEYS_FILE" "keys" "GRACEFUL_TIMEOUT" "gracefulSeconds" "PORT" "service.port" }}
{{- if hasKey $settings $fixed }}
{{- fail (printf "models.%s.settings: %s is set by the chart; use %s instead" $.name $fixed $instead) }}
{{- end }}
{{- end }}
{{- $server := include "server.name" . -}}
{{- $service := printf "%s.%s.svc" $server .root.Release.Namespace -}}
{{- $hosts := list $server (trimSuffix ".svc" $service) $service (printf "%s.cluster.local" $service) -}}
{{- $chosen := dict "MODEL" .model.model "API_KEYS_FILE" "/keys/api-keys" "GRACEFUL_TIMEOUT" .root.Values.gracefulSeconds "ALLOWED_HOSTS" (join "," $hosts) -}}
{{- $cards := int (.model.gpus | default 0) -}}
{{- if not (or (hasKey $settings "DEVICE") (hasKey $settings "DEVICES")) }}
{{- if gt $cards 1 }}
{{- $_ := set $chosen "DEVICES" "auto" }}
{{- else if eq $cards 1 }}
{{- /* Without its card a server ends with a sentence, instead of generating on the CPU. */}}
{{- $_ := set $chosen "DEVICE" "cuda" }}
{{- end }}
{{- end }}
{{- range $name, $value := mergeOverwrite $chosen $settings }}
{{- if or (kindIs "slice" $value) (kindIs "map" $value) }}
{{- fail (printf "models.%s.settings: %s must be one text, number or true and false" $.name $name) }}
{{- end }}
{{- /* Null takes away what the chart chose. Helm reads every number as a float, whose text may be 4.194304e+06. */}}
{{- if not (kindIs "invalid" $value) }}
- {name: {{ $name }}, value: {{ (kindIs "float64" $value | ternary (toJson $value) (toString $value)) | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* What one model's container asks for and may take at most, with its cards. */}}
{{- define "server.resources" -}}
{{- $resources := deepCopy (.model.resources | default dict) -}}
{{- with .model.gpus }}
{{- $_ := set $resources "limits" (merge (dict "nvidia.com/gpu" .) ($resources.limits | default dict)) -}}
{{- end }}
{{- toYaml $resources -}}
{{- end -}}
