# Plain instructions only, so that any builder of Dockerfiles can build it.

# The toolchain that rollcall is tested with.
ARG RUST_VERSION=1.95
FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /rollcall

# The dependencies alone, under an empty crate: this layer is built again only when one of these files changes.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
# Cargo.toml names them.
COPY benches benches
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs \
    && cargo build --release --locked

# `.sqlx` stands in for a database. Cargo goes by times, and what is copied may be older than the empty crate.
COPY .sqlx .sqlx
COPY migrations migrations
COPY src src
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin rollcall

# glibc, libgcc and the certificate authorities; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="rollcall" \
      org.opencontainers.image.description="Receives Recall.ai Calendar V2 webhooks and keeps exactly one bot on every meeting that should have one"
COPY --from=build /rollcall/target/release/rollcall /rollcall
# The image's user `nonroot`, as a number, which is what Kubernetes goes by to know that it is not root.
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
# The binary asks itself: there is no curl. Builders of the OCI format leave this out; probe /livez and /readyz there.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/rollcall", "healthcheck"]
ENTRYPOINT ["/rollcall"]
CMD ["serve"]
