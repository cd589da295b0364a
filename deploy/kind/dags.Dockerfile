# The image of docker/Dockerfile with a folder of DAG files, which is the build context. up.sh; docs/kubernetes.md.
ARG IMAGE=hybrid-runtime:kubernetes
FROM ${IMAGE}
COPY --chown=50000:50000 . /var/lib/hybrid/dags/
