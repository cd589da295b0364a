#!/bin/sh
# Makes the Secret `hybrid` where there is none: passwords and keys that exist in the cluster only.
#
#   deploy/kind/secret.sh [CONTEXT]          of the kubeconfig; by default its current one
#
# One that is there is left alone, for the database knows its password by now. Nothing secret is in an argument list.
set -eu
context=${1:-$(kubectl config current-context)}
namespace=hybrid

if [ -n "$(kubectl --context "$context" -n "$namespace" get secret hybrid --ignore-not-found -o name)" ]; then
    echo "secret $namespace/hybrid: kept"
    exit 0
fi

# Hexadecimal digits: no character of them means anything in a URL.
random() { od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'; }
password=$(random 24)
kubectl --context "$context" -n "$namespace" create -f - <<EOF
apiVersion: v1
kind: Secret
metadata:
  name: hybrid
  namespace: $namespace
immutable: true
stringData:
  postgres-password: $password
  database-url: postgresql://hybrid:$password@postgres/hybrid
  jwt-secret: $(random 64)
  fernet-key: $(head -c 32 /dev/urandom | base64 | tr '+/' '-_')
EOF
