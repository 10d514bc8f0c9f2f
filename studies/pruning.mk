# How many heads does a model need, and who says which? The models of study heads.
PRUNING_MINUTES := 22
P := $(S)/pruning
PRUNING_ARM ?= 6h
PRUNING_SEEDS ?= $(HEADS_SEEDS)
PRUNING_ORDERS ?= effect,michel,taylor,backward,forward,oracle,generated,disagreement,agreement,entropy
PRUNING_EVERY ?= 4
PRUNING_SHIFT ?= $(foreach name,gaussian_noise defocus_blur fog contrast jpeg_compression,--shift $(name):3)
PRUNING_CERTIFY ?= --certify .02 --over mean
PRUNING_IMAGES ?= 1000

$P/curve-%.csv: $H/$(PRUNING_ARM)-%.safetensors
	$(VHS) prune $< $(PRUNING_SHIFT) --order $(PRUNING_ORDERS) --every $(PRUNING_EVERY) --random 10 $(PRUNING_CERTIFY) --max-samples $(PRUNING_IMAGES) --resume $(RUN) $(QUIET) --curve $@
# images a second of the whole network and of those with fewer heads
$P/speed.csv: $H/$(PRUNING_ARM)-$(firstword $(PRUNING_SEEDS)).safetensors
	$(VHS) prune $< --order effect --every 12 --random 0 --max-samples 200 --speed $(RUN) $(QUIET) --curve $@

# --- what they say, over seeds ---
PP = $(PAGES)/pruning
$(PP)/curves.csv: $(PRUNING_SEEDS:%=$P/curve-%.csv)
	$(COMPARE) $^ --summary arms --condition clean --condition mean $(foreach what,top1 ece removable needed certified,--what $(what)) -o $@
# within every model: the primary comparison, then every order at half of the heads less a random one, and the one that measures
# again less every other
PRUNING_EACH := $(subst $(comma), ,$(PRUNING_ORDERS))
PRUNING_HALF ?= $(if $(filter 3h,$(PRUNING_ARM)),12,24)
$(PP)/within.csv: $(PRUNING_SEEDS:%=$P/curve-%.csv)
	$(COMPARE) $^ --summary arms --what top1 --what ece --condition clean --condition mean --across of --effect 'effect@$(PRUNING_HALF) - michel@$(PRUNING_HALF)' \
	  $(foreach order,$(PRUNING_EACH),--effect '$(order)@$(PRUNING_HALF) - random@$(PRUNING_HALF)') \
  $(foreach order,$(filter-out backward,$(PRUNING_EACH)),--effect 'backward@$(PRUNING_HALF) - $(order)@$(PRUNING_HALF)') -o $@
$(PP)/speed.csv: $P/speed.csv
	$(COMPARE) $< --summary arms --what images_per_s -o $@
PRUNING_SUMMARIES := $(foreach name,curves within speed,$(PP)/$(name).csv)
$(PP)/curves.png: $P/curve-$(firstword $(PRUNING_SEEDS)).csv
	$(PLOT) $< -o $@
$(PAGES)/pruning.md: studies/pruning.md.jinja $(PRUNING_SUMMARIES) $(PP)/curves.png
	$(call page-of,minutes=$(PRUNING_MINUTES) half=$(PRUNING_HALF))
study-pruning: $(PAGES)/pruning.md  ## how many heads does a model need, and who says which?
	@$(index)
