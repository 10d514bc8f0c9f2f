# Do heads specialise, does that predict robustness, does their number matter? The proposal's models, made small.
HEADS_MINUTES := 38
H := $(S)/heads
HEADS_SEEDS ?= 0 1 2 3 4
HEADS_ARMS := 3h 6h wide
HEADS_PLAIN := $(foreach key,lr_batch=0 warmup_epochs=1 resized_crop=false randaug= flip=false repeats=1 mixup=0 cutmix=0 erase=0 drop_path=0,--set $(key))
HEADS_SIZES ?= --patch 7 --dim 48 --epochs 8 --batch 128 --lr 2e-3 $(HEADS_PLAIN)
HEADS_WIDE ?= --head-width 16
HEADS_SNAPSHOTS ?= 1,40,80,160,320
HEADS_SHIFT ?= --shift imagenet-c:3 --shift imagenet-c-extra:3
HEADS_IMAGES ?= 500
HEADS_FEW ?= --shift gaussian_noise:3 --shift contrast:3 --shift fog:3
heads-of = $(foreach arm,$(HEADS_ARMS),$(HEADS_SEEDS:%=$H/$1$(arm)-%$2))
snapshots = $(foreach step,$(subst $(comma), ,$(HEADS_SNAPSHOTS)),$(1:.safetensors=.snapshots)/step-$(shell printf %06d $(step)).safetensors)
comma := ,

define heads-arm
$H/$1-%.safetensors: | $(S)/data/val/shards.json
	$$(VHS) train $(S)/data --recipe proposal-$2 $3 $$(HEADS_SIZES) --seed $$* --snapshots $$(HEADS_SNAPSHOTS) --resume $$(RUN) $$(QUIET) -o $$@
endef
$(eval $(call heads-arm,3h,3h,))
$(eval $(call heads-arm,6h,6h,))
$(eval $(call heads-arm,wide,6h-wide,$$(HEADS_WIDE)))

# every head of every run, clean and under every corruption at severity 3
$H/ablate-%.csv: $H/%.safetensors
	$(VHS) ablate $< $(HEADS_SHIFT) --max-samples $(HEADS_IMAGES) --resume $(RUN) $(QUIET) -o $@
# what heads look at, of the end of each run and its snapshots
$H/looks-%.csv: $H/%.safetensors
	$(VHS) specialize $(call snapshots,$<) $< --max-samples $(HEADS_IMAGES) --within-layer --resume $(RUN) $(QUIET) -o $@
# accuracy of all runs of a seed, which share the corrupted images
$H/shift-%.csv: $(foreach arm,$(HEADS_ARMS),$H/$(arm)-%.safetensors)
	$(VHS) evalshift $(foreach run,$^,$(call snapshots,$(run)) $(run)) $(HEADS_SHIFT) --max-samples 1000 --resume $(RUN) $(QUIET) -o $@
# when roles appear: every head in the snapshots
$H/early-%.csv: $H/%.safetensors
	$(VHS) ablate $(call snapshots,$<) $< --max-samples $(HEADS_IMAGES) --resume $(RUN) $(QUIET) -o $@
# how many heads can go one at a time, and together
$H/prune-%.csv: $H/%.safetensors $H/ablate-%.csv
	$(VHS) prune $< $(word 2,$^) $(HEADS_FEW) --order effect --every 3 --random 0 --max-samples 1000 --resume $(RUN) $(QUIET) --curve $@

# --- what they say, over seeds ---
HP = $(PAGES)/heads
$(HP)/models.csv: $(call heads-of,looks-,.csv) $(HEADS_SEEDS:%=$H/shift-%.csv)
	$(COMPARE) $^ --summary models -o $@
$(HP)/accuracy.csv: $(HEADS_SEEDS:%=$H/shift-%.csv)
	$(COMPARE) $^ --summary arms --what top1 --condition clean --condition mean -o $@
# heads that matter more, or less, under shift than on clean images
$H/contrast-%.csv: $H/ablate-%.csv
	$(COMPARE) $< --summary contrast -o $@
$(HP)/contrast.csv: $(call heads-of,contrast-,.csv)
	$(COMPARE) $^ --summary arms -o $@
$(HP)/redundancy.csv: $(call heads-of,prune-,.csv)
	$(COMPARE) $^ --summary arms --what removable --what needed --condition mean -o $@
# does one head serve several shifts?
$H/shifts-%.csv: $H/ablate-%.csv
	$(COMPARE) $< --summary shifts --scale loss -o $@
$(HP)/shifts.csv: $(call heads-of,shifts-,.csv)
	$(COMPARE) $^ --summary arms -o $@
# when roles appear
$H/trajectory-%.csv: $H/early-%.csv
	$(COMPARE) $< --summary trajectory --scale loss -o $@
$(HP)/trajectory.csv: $(call heads-of,trajectory-,.csv)
	$(COMPARE) $^ --summary arms --what r -o $@
# what goes with importance: what critical heads look at
$H/metrics-%.csv: $H/looks-%.csv $H/ablate-%.csv
	$(COMPARE) $^ --summary metrics --scale loss -o $@
$(HP)/metrics.csv: $(call heads-of,metrics-,.csv)
	$(COMPARE) $^ --summary arms --what r_within --condition clean -o $@
HEADS_SUMMARIES := $(foreach name,models accuracy contrast redundancy shifts trajectory metrics,$(HP)/$(name).csv)
$(HP)/models.png $(HP)/accuracy.png $(HP)/redundancy.png: $(HP)/%.png: $(HP)/%.csv
	$(PLOT) $< -o $@
# what the head looks at that matters most in the first run
$H/maps.safetensors: $H/6h-$(firstword $(HEADS_SEEDS)).safetensors
	$(VHS) specialize $< $(HEADS_FEW) --max-samples 6 $(RUN) $(QUIET) --maps $@
$(HP)/maps.png: $H/maps.safetensors $H/ablate-6h-$(firstword $(HEADS_SEEDS)).csv
	$(PLOT) $< --kind conditions --head $(word 2,$^) -o $@
HEADS_FIGURES := $(foreach name,models accuracy redundancy maps,$(HP)/$(name).png)
$(PAGES)/heads.md: studies/heads.md.jinja $(HEADS_SUMMARIES) $(HEADS_FIGURES)
	$(call page-of,minutes=$(HEADS_MINUTES) steps=$(HEADS_SNAPSHOTS))
# named, so that make does not take them for temporary: tables of pages are in the repository before there is a model
study-heads: $(call heads-of,,.safetensors) $(call heads-of,ablate-,.csv) $(call heads-of,early-,.csv)
study-heads: $(PAGES)/heads.md  ## do heads specialise, and does that carry a model through a shift?
	@$(index)
