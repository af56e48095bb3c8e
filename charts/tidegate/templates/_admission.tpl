{{/*
A ValidatingAdmissionPolicy of our own service account and its binding.
root, name (the plural of the kind), group, version, operations; variables and validations as YAML. The version is named
because the API server checks types only then; requests in other versions are converted to it.
*/}}
{{- define "tidegate.admissionPolicy" -}}
{{- $root := .root -}}
{{- $name := printf "%s.%s" .name (include "tidegate.clusterName" $root) -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ $name }}
  labels:
    {{- include "tidegate.labels" $root | nindent 4 }}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [{{ .group | quote }}]
        apiVersions: [{{ .version }}]
        resources: [{{ .name }}]
        operations: [{{ join ", " .operations }}]
  matchConditions:
    - name: by-tidegate
      expression: >-
        request.userInfo.username == '{{ include "tidegate.username" $root }}'
  variables:
    {{- include "tidegate.cel.metadata" (list) | nindent 4 }}
    {{- with .variables }}
    {{- . | nindent 4 }}
    {{- end }}
  validations:
    {{- .validations | nindent 4 }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels:
    {{- include "tidegate.labels" $root | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
{{- end -}}

{{/*
Variables are evaluated when they are used, so that those of an object that is not there (object on DELETE, oldObject
on CREATE) do no harm.
*/}}
{{- define "tidegate.cel.metadata" -}}
- name: owned
  expression: {{ printf "%s || (request.operation == 'UPDATE' && %s)" (include "tidegate.cel.owned" "object") (include "tidegate.cel.orphan" "object") | quote }}
- name: wasOwned
  expression: {{ printf "%s || %s" (include "tidegate.cel.owned" "oldObject") (include "tidegate.cel.orphan" "oldObject") | quote }}
- name: labels
  expression: object.metadata.?labels.orValue({})
- name: oldLabels
  expression: oldObject.metadata.?labels.orValue({})
- name: annotations
  expression: object.metadata.?annotations.orValue({})
- name: oldAnnotations
  expression: oldObject.metadata.?annotations.orValue({})
- name: sameOwners
  expression: object.metadata.?ownerReferences.orValue([]) == oldObject.metadata.?ownerReferences.orValue([])
- name: sameFinalizers
  expression: object.metadata.?finalizers.orValue([]) == oldObject.metadata.?finalizers.orValue([])
- name: sameLabels
  expression: variables.labels == variables.oldLabels
{{- end -}}

{{/* A Rollout of the same namespace (owners have no other) is the controller of the object. */}}
{{- define "tidegate.cel.owned" -}}
{{ . }}.metadata.?ownerReferences.orValue([]).exists(o, o.?controller.orValue(false) && o.kind == 'Rollout' && o.apiVersion.startsWith('tidegate.dev/'))
{{- end -}}

{{/*
What a Rollout owned until somebody deleted it without its pods: the garbage collector makes it nobody's before the Rollout
is gone. It has our label still.
*/}}
{{- define "tidegate.cel.orphan" -}}
({{ . }}.metadata.?ownerReferences.orValue([]).size() == 0 && 'tidegate.dev/rollout' in {{ . }}.metadata.?labels.orValue({}))
{{- end -}}

{{/* Two maps are the same but for entries of which `ours` is true, an expression over `k`. list new old ours */}}
{{- define "tidegate.cel.sameBut" -}}
{{- $new := index . 0 -}}{{- $old := index . 1 -}}{{- $ours := index . 2 -}}
{{ $new }}.all(k, {{ $ours }} || (k in {{ $old }} && {{ $new }}[k] == {{ $old }}[k])) && {{ $old }}.all(k, {{ $ours }} || k in {{ $new }})
{{- end -}}
