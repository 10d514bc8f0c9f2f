# The proposal end to end: "Attention Head Specialization in Vision Transformers Under Distribution Shift".
#   make -n proposal IMAGENET=~/imagenet IMAGENET_C=~/imagenet-c        every step, nothing done
#   make proposal-costs IMAGENET=~/imagenet                             what each step takes on this machine
#   make proposal IMAGENET=~/imagenet IMAGENET_C=~/imagenet-c IMAGENET_R=~/imagenet-r IMAGENET_SKETCH=~/sketch DEVICE=cuda THREADS=8
#   make proposal-small                                                 the same rules on the embedded images, minutes
# Without IMAGENET_C the same corruptions are made on the fly. A killed run goes on where it was.
O ?= proposal
IMAGENET ?=
PROPOSAL_MODELS ?= 3h 6h
PROPOSAL_TRAIN ?=
PROPOSAL_MEASURE ?=
PROPOSAL_FAMILY ?= imagenet-c
PROPOSAL_C := $(if $(IMAGENET_C),$O/imagenet-c/.packed)
PROPOSAL_SETS := $(PROPOSAL_C) $(if $(IMAGENET_R),$O/imagenet-r/.packed) $(if $(IMAGENET_SKETCH),$O/imagenet-sketch/.packed)
PROPOSAL_SHIFT = --shift $(if $(IMAGENET_C),$O/imagenet-c,$(PROPOSAL_FAMILY)) $(if $(IMAGENET_R),--shift $O/imagenet-r) $(if $(IMAGENET_SKETCH),--shift $O/imagenet-sketch)
PROPOSAL_ON = --data $O/imagenet/val $(PROPOSAL_SHIFT) $(PROPOSAL_MEASURE) --resume $(RUN)
PROPOSAL_MCE ?= alexnet
# few conditions for what is looked at or pruned: the proposal's kinds, noise, blur, weather and digital
PROPOSAL_FEW ?= $(foreach name,gaussian_noise motion_blur fog contrast,--shift $(name):3)
PROPOSAL_LOOK = --data $O/imagenet/val $(PROPOSAL_FEW) $(PROPOSAL_MEASURE) $(RUN)
PROPOSAL_ORDERS ?= effect,michel,oracle,disagreement

# --- data ---
$O/imagenet/val/shards.json: | $(READY)
	$(VHS) shard $(call at,$(or $(IMAGENET),$(error name the folder of train/ and val/: make proposal IMAGENET=DIR))) $O/imagenet
$O/imagenet-c/.packed: $O/imagenet/val/shards.json
	$(VHS) shard $(call at,$(IMAGENET_C)) $O/imagenet-c --base $O/imagenet/val && touch $@
$O/imagenet-r/.packed: $O/imagenet/val/shards.json
	$(VHS) shard $(call at,$(IMAGENET_R)) $O/imagenet-r --split val && touch $@
$O/imagenet-sketch/.packed: $O/imagenet/val/shards.json
	$(VHS) shard $(call at,$(IMAGENET_SKETCH)) $O/imagenet-sketch --split val && touch $@

# --- models: depth 8, 3 and 6 heads, DeiT's recipe; a snapshot a tenth power of two ---
$O/%.safetensors: | $O/imagenet/val/shards.json
	$(VHS) train $O/imagenet --recipe proposal-$* $(PROPOSAL_TRAIN) --snapshots log --resume $(RUN) -o $@

# --- every head under every shift; accuracy; mCE ---
$O/heads-%.csv: $O/%.safetensors $(PROPOSAL_SETS)
	$(VHS) ablate $< $(PROPOSAL_ON) -o $@
$O/shift-%.csv: $O/%.safetensors $(PROPOSAL_SETS)
	$(VHS) evalshift $< $(PROPOSAL_ON) -o $@
$O/mce-%.csv: $O/shift-%.csv
	$(VHS) compare $< --summary mce --normalise-by $(PROPOSAL_MCE) -o $@

# --- do the same heads matter, and which more under a shift? how many are redundant? which shifts do they serve? ---
$O/agreement-%.csv: $O/heads-%.csv
	$(VHS) compare $< -o $@
$O/contrast-%.csv: $O/heads-%.csv
	$(VHS) compare $< --summary contrast -o $@
$O/rollup-%.csv: $O/heads-%.csv
	$(VHS) compare $< --summary rollup -o $@
$O/redundancy-%.csv: $O/heads-%.csv
	$(VHS) compare $< --summary redundancy -o $@
$O/shifts-%.csv: $O/heads-%.csv
	$(VHS) compare $< --summary shifts -o $@

# --- what do heads look at, and the critical ones on pictures? ---
$O/looks-%.csv: $O/%.safetensors
	$(VHS) specialize $< $(PROPOSAL_LOOK) --resume -o $@
$O/roles-%.csv: $O/looks-%.csv $O/heads-%.csv
	$(VHS) compare $^ --summary roles -o $@
$O/maps-%.safetensors: $O/%.safetensors
	$(VHS) specialize $< --data $O/imagenet/val $(PROPOSAL_FEW) --max-samples 8 $(RUN) --maps $@
$O/critical-%.png: $O/maps-%.safetensors $O/heads-%.csv
	$(VHS) plot $< --kind conditions --head $(word 2,$^) -o $@

# --- can redundant heads go? ---
$O/prune-%.csv: $O/%.safetensors $O/heads-%.csv
	$(VHS) prune $^ $(PROPOSAL_LOOK) --order $(PROPOSAL_ORDERS) --resume --curve $@

# --- one page a model, and both side by side ---
PROPOSAL_KINDS := heads shift $(if $(filter imagenet-c,$(PROPOSAL_FAMILY)),mce) agreement contrast rollup redundancy shifts looks roles prune
$O/report-%.html: $(foreach kind,$(PROPOSAL_KINDS),$O/$(kind)-%.csv) $O/maps-%.safetensors
	$(VHS) report $^ --title 'The proposal: $*' -o $@
$O/models.csv: $(foreach kind,looks shift,$(PROPOSAL_MODELS:%=$O/$(kind)-%.csv))
	$(VHS) compare $^ --summary models -o $@
# named, so that make keeps what is on the way to a page
proposal: $(PROPOSAL_MODELS:%=$O/%.safetensors) $(foreach kind,$(PROPOSAL_KINDS),$(PROPOSAL_MODELS:%=$O/$(kind)-%.csv)) $(PROPOSAL_MODELS:%=$O/maps-%.safetensors)
PROPOSAL_BOTH := $(if $(word 2,$(PROPOSAL_MODELS)),$O/models.csv)
proposal: $(PROPOSAL_MODELS:%=$O/report-%.html) $(PROPOSAL_MODELS:%=$O/critical-%.png) $(PROPOSAL_BOTH)  ## the proposal at full size: IMAGENET=DIR IMAGENET_C=DIR
	@$(VHS) info --say $(foreach kind,heads shift agreement contrast redundancy shifts prune,$(PROPOSAL_MODELS:%=$O/$(kind)-%.csv))
	@echo "pages: $(PROPOSAL_MODELS:%=$O/report-%.html)$(PROPOSAL_BOTH:%=; side by side: %)"

# What each step takes here: sizes and updates of training; of measuring by a model of one update, which is made for it.
$O/costs/%.safetensors: | $O/imagenet/val/shards.json
	$(VHS) train $O/imagenet --recipe proposal-$* $(PROPOSAL_TRAIN) --minutes .01 $(RUN) -q -o $@
proposal-costs: $(PROPOSAL_SETS) $(PROPOSAL_MODELS:%=$O/costs/%.safetensors)  ## what each step of the proposal takes on this machine
	@$(foreach model,$(PROPOSAL_MODELS),echo "--- train $(model)"; $(VHS) train $O/imagenet --recipe proposal-$(model) $(PROPOSAL_TRAIN) $(RUN) --dry-run -o $O/$(model).safetensors; \
	  $(foreach step,ablate evalshift,echo "--- $(step) $(model)"; $(VHS) $(step) $O/costs/$(model).safetensors $(filter-out --resume,$(PROPOSAL_ON)) --dry-run;) \
	  $(foreach step,specialize prune,echo "--- $(step) $(model)"; $(VHS) $(step) $O/costs/$(model).safetensors $(PROPOSAL_LOOK) $(if $(filter prune,$(step)),--order $(PROPOSAL_ORDERS)) --dry-run;))

# The embedded images, small models, few images a condition; everything else is the same.
SMALL_TRAIN ?= --patch 7 --dim 48 --epochs 6 --batch 128 --lr 2e-3 $(HEADS_PLAIN)
SMALL_MEASURE ?= --max-samples 300
proposal-small: | $(READY)  ## the proposal's rules on the embedded images (minutes)
	$(MAKE) proposal IMAGENET=fashion-mnist O=$(if $(filter file,$(origin O)),proposal-small,$O) PROPOSAL_TRAIN="$(SMALL_TRAIN)" \
	  PROPOSAL_MEASURE="$(SMALL_MEASURE)" PROPOSAL_MCE=none
.PHONY: proposal proposal-small proposal-costs
