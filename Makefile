# `make` lists what there is. DATABASE_URL is used where it is set; otherwise scripts/with-postgres starts a private Postgres
# and removes it afterwards.

# What runs on this machine is not asked for by way of a proxy.
export NO_PROXY := 127.0.0.1,$(NO_PROXY)

# Any builder of Dockerfiles: `make image CONTAINER=podman`.
CONTAINER ?= docker

.PHONY: help test soak fuzz faults bench profile scale demo lint sqlx check-sqlx deny image

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## run all tests, against a real Postgres
	cargo test --locked --no-run
	scripts/with-postgres --fast cargo test --locked

# The first seed to soak with. SECONDS is for soaking and fuzzing.
SEED ?= 1000000

soak: ## play random histories: make soak SECONDS=3600 SEED=1000000
	cargo test --locked --profile soak --test it --no-run
	SOAK_SECONDS=$(or $(SECONDS),3600) SOAK_SEED=$(SEED) scripts/with-postgres --fast \
		cargo test --locked --profile soak --test it -- --ignored --exact --nocapture histories::soak_for_as_long_as_told

fuzz: ## fuzz each target for so long: make fuzz SECONDS=600 TARGETS="token answer"
	scripts/fuzz $(or $(SECONDS),600) $(TARGETS)

# How long the API answers 429.
THROTTLE ?= 30

faults: ## break real processes, databases and APIs under load: make faults THROTTLE=600
	cargo build --release --locked
	cargo test --locked --test it --no-run
	FAULTS_THROTTLE_SECONDS=$(THROTTLE) scripts/with-postgres \
		cargo test --locked --test it -- --ignored --nocapture --test-threads 1 faults::

bench: ## measure how near the limits rollcall comes, into docs/performance.md: make bench FIGURES="1 2"
	cargo build --release --locked
	cargo bench --locked --profile performance --bench performance --no-run
	scripts/with-postgres cargo bench --locked --profile performance --bench performance -- $(FIGURES)

profile: ## show where the receiver's time goes under the load of figure 1; needs perf
	cargo bench --locked --profile performance --bench performance --no-run
	scripts/with-postgres cargo bench --locked --profile performance --bench performance -- profile
	perf report --input target/receiver.perf --stdio --children --call-graph none --percent-limit 1.5

scale: ## check query plans and speed with 3,000,000 events; writes docs/query-plans.md
	cargo bench --locked --profile performance --bench scale --no-run
	scripts/with-postgres cargo bench --locked --profile performance --bench scale

demo: ## watch rollcall serve a simulated Recall; options in ARGS, such as ARGS="--keep-running --calendars 40"
	cargo build --locked
	@scripts/with-postgres --fast cargo run --locked --quiet -- demo $(ARGS)

lint: ## check formatting, clippy and docs
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

sqlx: ## write .sqlx/ anew, after a query or a migration changed
	scripts/sqlx-prepare

check-sqlx: ## fail if .sqlx/ is not current
	scripts/sqlx-prepare --check

deny: ## check dependencies: advisories, licenses, duplicates, sources
	cargo deny --locked check

image: ## build the container image
	$(CONTAINER) build -t rollcall .
