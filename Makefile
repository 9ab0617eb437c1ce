# Play living calendars and a simulated Recall around the real service, and check the bots. For instance:
# make demo ARGS="--keep-running --calendars 40"
.PHONY: demo
demo:
	@echo "Building rollcall; the first time takes some minutes."
	@cargo build
	@NO_PROXY="127.0.0.1,$$NO_PROXY" scripts/with-postgres --fast cargo run --quiet -- demo $(ARGS)
