# What the studies share. Products lie in $(S); pages and the small tables behind them in $(PAGES).
#   make -j2 study-heads                                   the embedded images, two cores
#   make -j4 study-heads DATA=~/imagenet HEADS_SIZES= HEADS_WIDE= DEVICE=cuda   your images, the recipes' own sizes, a GPU
# Whatever is given has a folder of its own (study-NUMBER), so that products of other values are never taken for its own.
# A killed run goes on where it was: every file is written whole, and commands resume.

# What was given, on the command line or in the environment, of all that results hang on.
STUDIED := DATA TOP BOTTOM PAIRS WATERBIRDS $(foreach name,HEADS DIVERSITY DISTILL CHIRPS PRUNING,$(filter $(name)_%,$(.VARIABLES)))
OVERRIDDEN := $(sort $(filter-out S=% THREADS=% DEVICE=% QUIET=% PYTHON=% VENV=% BASE=% JOBS=% PAGES=% SHELL=% NPM=% O=%,$(MAKEOVERRIDES)) \
  $(foreach name,$(STUDIED),$(if $(filter environment%,$(origin $(name))),$(name)=$(value $(name)))))
GIVEN := $(if $(strip $(OVERRIDDEN)),yes)
S ?= study$(if $(GIVEN),-$(firstword $(shell printf %s '$(subst ','\'',$(OVERRIDDEN))' | cksum)))
S := $(S)
# The pages and the small tables behind them: docs/studies, or beside the products where something was given.
PAGES ?= $(if $(GIVEN),$(S)/pages,docs/studies)
THREADS ?= 1
DEVICE ?= auto
RUN = --threads $(THREADS) --device $(DEVICE)
QUIET ?= -q
DATA ?= fashion-mnist
STUDIES := heads diversity distill chirps pruning

study: $(STUDIES:%=study-%)  ## all five studies (hours)
.PHONY: study $(STUDIES:%=study-%)

# a path, in quotes unless the shell is to expand its ~
at = $(if $(filter ~%,$(firstword $1)),$1,'$1')

# The embedded images, or the user's: any layout that `vhs shard` reads.
$(S)/data/val/shards.json: | $(READY)
	$(VHS) shard $(call at,$(DATA)) $(S)/data

COMPARE = $(VHS) compare $(QUIET)
PLOT = $(VHS) plot $(QUIET) --width page
# page-of NAMES: the page from its template, the tables in its folder and what is defined beside them; ours: words about the data and
# numbers that are in the repository are left out where something was given
OURS = $(if $(GIVEN),,yes)
page-of = $(VHS) report $(filter %.csv,$^) --template $(filter %.jinja,$^) --define ours=$(OURS) $(foreach pair,$1,--define $(pair)) $(QUIET) -o $@

# what the studies that were run say together; a table is called FOLDER_NAME in its template
study: studies-index
studies-index: $(STUDIES:%=$(PAGES)/%.md)
	$(index)
index = $(VHS) report $(foreach csv,$(wildcard $(STUDIES:%=$(PAGES)/%/*.csv)),$(subst /,_,$(patsubst $(PAGES)/%.csv,%,$(csv)))=$(csv)) \
  --template studies/README.md.jinja --define ours=$(OURS) --define have="$(patsubst $(PAGES)/%.md,%,$(wildcard $(STUDIES:%=$(PAGES)/%.md)))" $(QUIET) -o $(PAGES)/README.md
.PHONY: studies-index
