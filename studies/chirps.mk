# Which heads read the chirp, and which the furniture around it?
#   make -j2 study-chirps
#   make study-chirps CHIRPS_BASE=timm:vit_base_patch16_224 CHIRPS_FINE='--recipe finetune --lora 8' CHIRPS_COUNT=100000 \
#     CHIRPS_SIDE=224 DEVICE=cuda     the source's own model, from the hub
CHIRPS_MINUTES := 30
C := $(S)/chirps
CHIRPS_SEEDS ?= 0 1 2 3 4
CHIRPS_COUNT ?= 6000
CHIRPS_SIDE ?= 128
CHIRPS_SIZES ?= --patch 16 --depth 12 --dim 48 --heads 3 --batch 32 --lr 1e-3 --epochs 8 --set pool=avg --set positions=sincos --set patch_norm=true --set clip=1.0
CHIRPS_FINE ?= --recipe finetune --epochs 5 --batch 32 --set layer_decay=1 --set drop_path=0
# the model that is fine-tuned: of each seed its own, or one that is named
CHIRPS_BASE ?= $C/base-$*.safetensors
CHIRPS_SHIFT = --shift $C/data/val-bare

$C/data/.packed: | $(READY)
	$(VHS) shard chirps $C/data --count $(CHIRPS_COUNT) --side $(CHIRPS_SIDE) && touch $@
$C/bare/.packed: | $(READY)
	$(VHS) shard chirps $C/bare --count $(CHIRPS_COUNT) --side $(CHIRPS_SIDE) --distort none --seed 1 && touch $@
$C/base-%.safetensors: | $C/bare/.packed
	$(VHS) train $C/bare $(CHIRPS_SIZES) --seed $* --resume $(RUN) $(QUIET) -o $@
$C/fine-%.safetensors: $(if $(findstring $C,$(CHIRPS_BASE)),$C/base-%.safetensors) | $C/data/.packed
	$(VHS) train $C/data $(CHIRPS_FINE) --init $(CHIRPS_BASE) --seed $* --resume $(RUN) $(QUIET) -o $@
CHIRPS_RUNS := $(CHIRPS_SEEDS:%=$C/fine-%.safetensors)
CHIRPS_BASES := $(if $(findstring $C,$(CHIRPS_BASE)),$(CHIRPS_SEEDS:%=$C/base-%.safetensors))

# errors with furniture and without, before fine-tuning and after
$C/r2.csv: $(CHIRPS_BASES) $(CHIRPS_RUNS)
	$(VHS) evalshift $^ --data $C/data $(CHIRPS_SHIFT) $(RUN) $(QUIET) -o $@
$C/heads-%.csv: $C/fine-%.safetensors
	$(VHS) ablate $< $(CHIRPS_SHIFT) --resume $(RUN) $(QUIET) -o $@
$C/regions-%.csv: $C/fine-%.safetensors
	$(VHS) specialize $< $(CHIRPS_SHIFT) --regions --within-layer --resume $(RUN) $(QUIET) -o $@
$C/kinds-%.csv: $C/regions-%.csv $C/heads-%.csv
	$(VHS) compare $^ --summary kinds $(QUIET) -o $@
# the interaction: does a head matter more with furniture or without?
$C/contrast-%.csv: $C/heads-%.csv
	$(VHS) compare $< --summary contrast $(QUIET) -o $@
$C/maps.safetensors: $C/fine-$(firstword $(CHIRPS_SEEDS)).safetensors
	$(VHS) specialize $< $(CHIRPS_SHIFT) --max-samples 5 $(RUN) $(QUIET) --maps $@

# --- what they say, over seeds ---
CP = $(PAGES)/chirps
$(CP)/r2.csv: $C/r2.csv
	$(COMPARE) $< --summary arms --what r2 --paired -o $@
$(CP)/layers.csv: $(CHIRPS_SEEDS:%=$C/heads-%.csv)
	$(COMPARE) $^ --summary arms -o $@
# within every run: the primary comparison, then each layer less the first three
CHIRPS_FIRST := - 0.33333333 L0 - 0.33333333 L1 - 0.33333333 L2
$(CP)/within.csv: $(CHIRPS_SEEDS:%=$C/heads-%.csv)
	$(COMPARE) $^ --summary arms --what dmse_rel --across layer --effect 'sixth = L5 $(CHIRPS_FIRST)' $(foreach layer,3 4 6 7 8 9 10 11,--effect 'L$(layer) $(CHIRPS_FIRST)') -o $@
# with furniture less without: the same head, layer by layer
$(CP)/furniture.csv: $(CHIRPS_SEEDS:%=$C/heads-%.csv)
	$(COMPARE) $^ --summary arms --what dmse_rel --across condition -o $@
$(CP)/kinds.csv: $(CHIRPS_SEEDS:%=$C/kinds-%.csv)
	$(COMPARE) $^ --summary arms -o $@
$(CP)/contrast.csv: $(CHIRPS_SEEDS:%=$C/contrast-%.csv)
	$(COMPARE) $^ --summary arms -o $@
CHIRPS_SUMMARIES := $(foreach name,r2 layers within furniture kinds contrast,$(CP)/$(name).csv)
$(CP)/layers.png: $(CP)/layers.csv
	$(PLOT) $< --kind layers --metric dmse_rel -o $@
$(CP)/kinds.png: $(CHIRPS_SEEDS:%=$C/kinds-%.csv)
	$(PLOT) $^ -o $@
$(CP)/maps.png: $C/maps.safetensors $C/heads-$(firstword $(CHIRPS_SEEDS)).csv
	$(PLOT) $< --kind conditions --head $(word 2,$^) -o $@
$(PAGES)/chirps.md: studies/chirps.md.jinja $(CHIRPS_SUMMARIES) $(foreach name,layers kinds maps,$(CP)/$(name).png)
	$(call page-of,minutes=$(CHIRPS_MINUTES))
study-chirps: $(CHIRPS_SEEDS:%=$C/regions-%.csv)  # named, so that make keeps them
study-chirps: $(PAGES)/chirps.md  ## which heads read the chirp, and which the furniture around it?
	@$(index)
