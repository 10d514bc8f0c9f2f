# What comes across when a student is told its teacher's attention?
#   make -j2 study-distill
#   make study-distill DATA=~/cifar-100-python DISTILL_TEACHER='--recipe distill-cifar100 --depth 10 --heads 8 --set mlp_ratio=16' \
#     DISTILL_STUDENT='--recipe distill-cifar100' DISTILL_BLOCK=block:0:0,4:9 DISTILL_HEAD=head:4.0:9.0 DEVICE=cuda
DISTILL_MINUTES := 35
T := $(S)/distill
DISTILL_SEEDS ?= 0 1 2 3 4
DISTILL_TEACHER ?= --epochs 10
DISTILL_STUDENT ?= --depth 3 --dim 32 --heads 2 --epochs 6
DISTILL_WIDER ?= --set mlp_ratio=4
DISTILL_BLOCK ?= block:0:0,2:5
DISTILL_HEAD ?= head:2.0:5.0
DISTILL_ALPHAS ?= 0.5 0.1
DISTILL_ALPHA := $(firstword $(DISTILL_ALPHAS))
DISTILL_SHIFT ?= --shift imagenet-c:3
DISTILL_LOOKS ?= --shift gaussian_noise:3 --shift fog:3 --shift contrast:3 --max-samples 1000

$T/teacher-%.safetensors: | $(S)/data/val/shards.json
	$(VHS) train $(S)/data $(DISTILL_TEACHER) --seed $* --resume $(RUN) $(QUIET) -o $@
define distill-arm
DISTILL_ARMS += $1
$T/$1-%.safetensors: $T/teacher-%.safetensors
	$$(VHS) train $(S)/data $$(DISTILL_STUDENT) $2 --seed 1$$* --resume $$(RUN) $$(QUIET) -o $$@
endef
attention = --teacher $$< --distill attention --grain $1 --distill-loss $2 --alpha $3
$(eval $(call distill-arm,alone,))
$(eval $(call distill-arm,logits,--teacher $$< --distill logits))
$(eval $(call distill-arm,token,--teacher $$< --distill token))
$(foreach alpha,$(DISTILL_ALPHAS),$(foreach loss,mse kl,\
  $(eval $(call distill-arm,encoder-$(loss)-$(alpha),$(call attention,encoder,$(loss),$(alpha))))\
  $(eval $(call distill-arm,block-$(loss)-$(alpha),$(call attention,$$(DISTILL_BLOCK),$(loss),$(alpha))))\
  $(eval $(call distill-arm,head-$(loss)-$(alpha),$(call attention,$$(DISTILL_HEAD),$(loss),$(alpha))))))
$(eval $(call distill-arm,encoder-ce-$(DISTILL_ALPHA),$(call attention,encoder,ce,$(DISTILL_ALPHA))))
$(eval $(call distill-arm,matched-kl-$(DISTILL_ALPHA),$(call attention,encoder,kl,$(DISTILL_ALPHA)) --distill-heads match))
$(eval $(call distill-arm,wider-alone,$$(DISTILL_WIDER)))
$(eval $(call distill-arm,wider-encoder-kl-$(DISTILL_ALPHA),$$(DISTILL_WIDER) $(call attention,encoder,kl,$(DISTILL_ALPHA))))
$(eval $(call distill-arm,adaptive,$(call attention,encoder,kl,$(DISTILL_ALPHA)) --adaptive teacher))
$(eval $(call distill-arm,adaptive-control,$(call attention,encoder,kl,$(DISTILL_ALPHA)) --adaptive teacher --set adaptive_control=true))

# of the models of a seed: accuracy, clean and under every corruption at severity 3
$T/shift-%.csv: $T/teacher-%.safetensors $(foreach arm,$(DISTILL_ARMS),$T/$(arm)-%.safetensors)
	$(VHS) evalshift $^ $(DISTILL_SHIFT) --resume $(RUN) $(QUIET) -o $@
# how far the heads of a student lie from each other
$T/looks-%.csv: $(foreach arm,$(DISTILL_ARMS),$T/$(arm)-%.safetensors)
	$(VHS) specialize $^ --within-layer --max-samples 500 --resume $(RUN) $(QUIET) -o $@
# which heads of the teacher arrived, and where both, one or none answers right
$T/against-%.csv: $(foreach arm,$(DISTILL_ARMS),$T/$(arm)-%.safetensors) $T/teacher-%.safetensors
	$(VHS) specialize $(filter-out %/teacher-$*.safetensors,$^) --against $T/teacher-$*.safetensors $(DISTILL_LOOKS) --resume $(RUN) $(QUIET) -o $@

# --- what they say, over seeds ---
TP = $(PAGES)/distill
DISTILL_EFFECTS := --reference alone --effect 'wider gain = wider-encoder-kl-$(DISTILL_ALPHA) - wider-alone - encoder-kl-$(DISTILL_ALPHA) + alone' \
  --effect 'adaptive - adaptive-control'
$(TP)/accuracy.csv: $(DISTILL_SEEDS:%=$T/shift-%.csv)
	$(COMPARE) $^ --summary arms --what top1 --condition clean --condition mean $(DISTILL_EFFECTS) -o $@
$(TP)/looks.csv: $(DISTILL_SEEDS:%=$T/looks-%.csv)
	$(COMPARE) $^ --summary arms --what jsd_layer --reference alone -o $@
$(TP)/against.csv: $(DISTILL_SEEDS:%=$T/against-%.csv)
	$(COMPARE) $^ --summary arms --condition clean --reference alone -o $@
DISTILL_SUMMARIES := $(foreach name,accuracy looks against,$(TP)/$(name).csv)
$(TP)/accuracy.png: $(TP)/accuracy.csv
	$(PLOT) $< -o $@
$(TP)/matches.png: $T/against-$(firstword $(DISTILL_SEEDS)).csv
	$(PLOT) $< --model encoder-kl-$(DISTILL_ALPHA)-$(firstword $(DISTILL_SEEDS)) -o $@
$(PAGES)/distill.md: studies/distill.md.jinja $(DISTILL_SUMMARIES) $(TP)/accuracy.png $(TP)/matches.png
	$(call page-of,minutes=$(DISTILL_MINUTES) alpha=$(DISTILL_ALPHA))
# named, so that make keeps them
study-distill: $(foreach arm,teacher $(DISTILL_ARMS),$(DISTILL_SEEDS:%=$T/$(arm)-%.safetensors))
study-distill: $(PAGES)/distill.md  ## what comes across when a student is told its teacher's attention?
	@$(index)
