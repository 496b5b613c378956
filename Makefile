# make demo [INPUT=folder] [OUTPUT=out]   install, then segment a CT folder, or else a phantom
# make test [ARGS="pytest arguments"]     install, then check style, types and all tests
# make map [ARGS="--gpu ..."]             install, then build the MONAI Application Package
# make recipes [ARGS="-o out"]            install, then try every training recipe in miniature
# All take PYTHON=python3.12 and VENV=folder. Without make: sh scripts/demo and so on
.PHONY: demo map recipes test

demo:
	@sh scripts/demo "$(INPUT)" "$(OUTPUT)"

map:
	@sh scripts/map $(ARGS)

recipes:
	@sh scripts/recipes $(ARGS)

test:
	@sh scripts/test $(ARGS)
