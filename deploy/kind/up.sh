#!/bin/sh
# Makes a cluster with kind, where there is none of that name, and brings the deployment up in it, or up to date.
#
#   deploy/kind/up.sh          with docker, kind and kubectl
#
# CLUSTER      its name; by default `hybrid`
# DAGS         the folder of DAG files that go into the image; by default deploy/kind/dags
# BASE_IMAGE   what the image is built on; by default Dockerfile's own
# NODE_IMAGE   kind's node; by default its own
set -eu
cd "$(dirname "$0")/../.."
: "${CLUSTER:=hybrid}" "${DAGS:=deploy/kind/dags}" "${BASE_IMAGE:=}" "${NODE_IMAGE:=}"
context=kind-$CLUSTER
in_cluster() { kubectl --context "$context" "$@"; }

for tool in docker kind kubectl; do
    command -v "$tool" >/dev/null || { echo "up.sh: $tool is needed" >&2; exit 1; }
done

docker build -f deploy/docker/Dockerfile --build-arg EXTRAS=kubernetes,postgres \
    ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} -t hybrid-runtime:kubernetes .
docker build -f deploy/kind/dags.Dockerfile --build-arg IMAGE=hybrid-runtime:kubernetes -t hybrid-dags:local "$DAGS"

if ! kind get clusters | grep -qx "$CLUSTER"; then
    kind create cluster --name "$CLUSTER" --config deploy/kind/cluster.yaml ${NODE_IMAGE:+--image "$NODE_IMAGE"}
fi
kind load docker-image --name "$CLUSTER" hybrid-dags:local

in_cluster apply -f deploy/kind/manifests/namespaces.yaml
deploy/kind/secret.sh "$context"
before=$(in_cluster -n hybrid get deployment -o name)
in_cluster apply -k deploy/kind/manifests
# The image keeps its name, so that Kubernetes sees no change in it.
[ -z "$before" ] || in_cluster -n hybrid rollout restart deployment
for name in statefulset/postgres deployment/api-server deployment/scheduler deployment/dag-processor; do
    in_cluster -n hybrid rollout status --timeout 5m "$name"
done
echo "commands: kubectl --context $context -n hybrid exec deployment/scheduler -c scheduler -- hybrid …"
