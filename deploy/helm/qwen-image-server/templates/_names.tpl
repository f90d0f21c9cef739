{{/* The name of what belongs to one model: release and model. */}}
{{- define "server.name" -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" .name) }}
{{- fail (printf "models.%s: the name becomes part of an address, so it has only small letters, digits and -" .name) }}
{{- end }}
{{- printf "%s-%s" .root.Release.Name .name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "server.selector" -}}
app.kubernetes.io/name: qwen-image-server
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "server.labels" -}}
{{ include "server.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "server.secret" -}}
{{- .Values.keys.existingSecret | default (printf "%s-keys" .Release.Name) -}}
{{- end -}}

{{/* Before its start a server waits for a card, for its disk, and for an image of some gigabytes. */}}
{{- define "server.rolloutSeconds" -}}
{{- add .Values.startSeconds 900 -}}
{{- end -}}
