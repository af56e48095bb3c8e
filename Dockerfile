# The controller alone: one static binary, built without the sandbox, in an image that holds nothing else but the
# certificates of public authorities.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache ca-certificates musl-dev
WORKDIR /src
COPY . .
RUN scripts/build-static /out/tidegate

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="tidegate" \
      org.opencontainers.image.description="Progressive delivery for Kubernetes: canary releases that promote or roll back by themselves" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# For a Prometheus behind https; the API server's authority comes with the service account's token.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/tidegate /tidegate
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/tidegate"]
CMD ["controller"]
