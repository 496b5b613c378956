# make demo [INPUT=folder] [OUTPUT=out]   install, then segment a CT folder, or else a phantom
# make test [ARGS="pytest arguments"]     install, then check style, types and all tests
# make map [ARGS="--gpu ..."]             install, then build the MONAI Application Package
# All take PYTHON=python3.12 and VENV=folder. Without make: sh scripts/demo, scripts/test, scripts/map
.PHONY: demo map test

demo:
	@sh scripts/demo "$(INPUT)" "$(OUTPUT)"

map:
	@sh scripts/map $(ARGS)

test:
	@sh scripts/test $(ARGS)
