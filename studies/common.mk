# What the studies share. Products lie in $(S); pages and the small tables behind them in $(PAGES).
#   make -j2 study-heads                                   the embedded images, two cores
#   make -j4 study-heads DATA=~/imagenet HEADS_SIZES= HEADS_WIDE= DEVICE=cuda   your images, the recipes' own sizes, a GPU
# A killed run goes on where it was: every file is written whole, and commands resume.
S ?= study
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

# The small tables behind the pages and the pages themselves: docs/studies, or $(S)/pages where something was given, on the
# command line or in the environment.
STUDIED := DATA TOP BOTTOM PAIRS WATERBIRDS $(foreach name,HEADS DIVERSITY DISTILL CHIRPS PRUNING,$(filter $(name)_%,$(.VARIABLES)))
OVERRIDDEN := $(filter-out S=% THREADS=% DEVICE=% QUIET=% PYTHON=% VENV=% BASE=% JOBS=%,$(MAKEOVERRIDES)) \
  $(foreach name,$(STUDIED),$(if $(filter environment%,$(origin $(name))),$(name)))
PAGES ?= $(if $(strip $(OVERRIDDEN)),$(S)/pages,docs/studies)
COMPARE = $(VHS) compare $(QUIET)
PLOT = $(VHS) plot $(QUIET) --width page
# page-of NAME: the page from its template, the tables in its folder and what is defined beside them; ours: words about the numbers
# that were found here are left out where something was given
page-of = $(VHS) report $(filter %.csv,$^) --template $(filter %.jinja,$^) --define ours=$(if $(strip $(OVERRIDDEN)),,yes) $(foreach pair,$1,--define $(pair)) $(QUIET) -o $@

# what the studies that were run say together; a table is called FOLDER_NAME in its template
study: studies-index
studies-index: $(STUDIES:%=$(PAGES)/%.md)
	$(index)
index = $(VHS) report $(foreach csv,$(wildcard $(STUDIES:%=$(PAGES)/%/*.csv)),$(subst /,_,$(patsubst $(PAGES)/%.csv,%,$(csv)))=$(csv)) \
  --template studies/README.md.jinja --define ours=$(if $(strip $(OVERRIDDEN)),,yes) --define have="$(patsubst $(PAGES)/%.md,%,$(wildcard $(STUDIES:%=$(PAGES)/%.md)))" $(QUIET) -o $(PAGES)/README.md
.PHONY: studies-index
