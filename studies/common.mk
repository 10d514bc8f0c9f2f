# What the studies share. Products lie in $(S); pages and the small tables behind them in $(PAGES).
#   make -j2 study-heads                                   the embedded images, two cores
#   make -j4 study-heads DATA=~/imagenet DEVICE=cuda SIZES= your images, a GPU, the recipes' own sizes
# A killed run goes on where it was: every file is written whole, and commands resume.
S ?= study
THREADS ?= 1
DEVICE ?= auto
RUN = --threads $(THREADS) --device $(DEVICE)
QUIET ?= -q
DATA ?= fashion-mnist
STUDIES := heads diversity distill chirps pruning
PAGES ?= docs/studies

study: $(STUDIES:%=study-%)  ## all five studies (hours)
.PHONY: study $(STUDIES:%=study-%)
.SECONDARY:

# The embedded images, or the user's: any layout that `vhs shard` reads.
$(S)/data/val/shards.json: | $(READY)
	$(VHS) shard $(DATA) $(S)/data
