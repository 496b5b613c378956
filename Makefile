# make demo [INPUT=folder] [OUTPUT=out]   install, then segment a CT folder, or else a phantom
# make test [ARGS="pytest arguments"]     install, then check style, types and all tests
# Both take PYTHON=python3.12 and VENV=folder. Without make: sh scripts/demo, sh scripts/test
.PHONY: demo test

demo:
	@sh scripts/demo "$(INPUT)" "$(OUTPUT)"

test:
	@sh scripts/test $(ARGS)
