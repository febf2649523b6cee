# The image holds the binary and the certificates that it trusts: no shell, no
# package manager, no other user than the one it runs as.

# The version of Go is one of the things that the binary depends on. Whoever keeps
# a registry names the image by its digest: --build-arg GOLANG=golang@sha256:...
ARG GOLANG=golang:1.26.8

FROM --platform=$BUILDPLATFORM $GOLANG AS build
WORKDIR /src

# The modules change less often than the code: they get a layer of their own.
COPY go.mod go.sum ./
RUN go mod download

COPY . .
ARG VERSION=dev
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X main.version=$VERSION" -o /jethook ./cmd/jethook

# Made here, because nothing in an empty image could make them.
RUN mkdir -p /empty/data /empty/tmp && chmod 1777 /empty/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /empty/data /data
COPY --from=build /empty/tmp /tmp
COPY --from=build /jethook /jethook

USER 65532:65532
ENV JETHOOK_HTTP_ADDR=0.0.0.0:8080 \
    JETHOOK_DATA_DIR=/data
VOLUME /data

# 8080 is HTTP. 4222 is the embedded NATS server, which stays on loopback until
# JETHOOK_NATS_LISTEN=0.0.0.0:4222 opens it, with NATS_USER and NATS_PASSWORD or
# NATS_TOKEN: do that on a trusted network only, because nothing is encrypted.
EXPOSE 8080 4222

HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["/jethook", "health"]

ENTRYPOINT ["/jethook"]
CMD ["serve"]
