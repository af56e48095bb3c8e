{{- define "tidegate.name" -}}
{{- .Values.nameOverride | default .Chart.Name -}}
{{- end -}}

{{/* "tidegate" for a release of that name; otherwise release and chart. */}}
{{- define "tidegate.fullname" -}}
{{- $name := include "tidegate.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Names of what has no namespace: two releases never share one. */}}
{{- define "tidegate.clusterName" -}}
{{- printf "%s.%s" (include "tidegate.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "tidegate.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "tidegate.fullname" .) -}}
{{- end -}}

{{/* How the API server calls the controller. */}}
{{- define "tidegate.username" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "tidegate.serviceAccount" . }}
{{- end -}}

{{/* Where Alertmanager sends alerts; the certificate is for its names. */}}
{{- define "tidegate.alertService" -}}
{{- include "tidegate.fullname" . }}-alerts
{{- end -}}

{{/* The Secret of the receiver's certificate, whoever makes it. */}}
{{- define "tidegate.alertTlsSecret" -}}
{{- $receiver := .Values.alerts.receiver -}}
{{- if $receiver.tlsSecret -}}
{{- $receiver.tlsSecret -}}
{{- else if $receiver.certManager.issuerRef.name -}}
{{- include "tidegate.fullname" . }}-alert-tls
{{- else -}}
{{- fail (cat "alerts.receiver.enabled needs a certificate: set alerts.receiver.tlsSecret to a Secret that has one,"
  "or alerts.receiver.certManager.issuerRef.name to an issuer of cert-manager") -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tidegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The namespaces to look after as a JSON list; an empty one means all of them. */}}
{{- define "tidegate.namespaces" -}}
{{- if .Values.clusterWide -}}
{{- if .Values.namespaces -}}
{{- fail "namespaces and clusterWide exclude each other: empty namespaces, or set clusterWide to false" -}}
{{- end -}}
[]
{{- else -}}
{{- .Values.namespaces | default (list .Release.Namespace) | toJson -}}
{{- end -}}
{{- end -}}
