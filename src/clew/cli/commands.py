"""The table of commands: where each is defined, and the line that `--help` lists it with."""

from __future__ import annotations

from clew.cli.lazy_group import Command, CommandGroup

COMMANDS = CommandGroup(
    help="See how a language model came to its answer, and check it.",
    commands={
        "trace": Command("trace:trace", "Trace how the model came to its next token."),
        "explain": Command(
            "explain:explain",
            "Say how the model came to its next token: one sentence, then groups of features and what each does, "
            "measured.",
        ),
        "looks": Command(
            "looks:looks",
            "Say why an attention head looks from one token to another: what at the query, and what at the key, makes "
            "it.",
        ),
        "edit": Command(
            "edit:edit", "Edit features and see what follows: predicted by effects, measured in the real model."
        ),
        "audit": Command(
            "audit:audit",
            "Ablate features in the real model and compare with what the graph predicted, beside baselines.",
        ),
        "diff": Command(
            "diff:diff_",
            "Set the graphs of two prompts side by side: features by activation and by their effect on the output.",
        ),
        "graph": CommandGroup(
            help="Graphs: merge several, see what settings and wordings agree on, and what hangs on few edges.",
            commands={
                "merge": Command(
                    "graph.merge:merge_",
                    "Merge the graphs of several prompts: means, and how many prompts have each feature and edge.",
                ),
                "consensus": Command(
                    "graph.consensus:consensus_",
                    "Say which features and edges survive most thresholds of pruning, or are there in most wordings.",
                ),
                "robustness": Command(
                    "graph.robustness:robustness_",
                    "Say whether a graph hangs on few edges or spreads, beside rewired graphs and expanders.",
                ),
            },
        ),
        "train": Command("train:train", "Train a dictionary on a model, and measure it on text that it has not seen."),
        "tune": Command(
            "tune:tune",
            "Fine-tune a finished run's dictionary on predicting what the model predicts, all MLPs replaced at once.",
        ),
        "eval": Command(
            "evaluate:evaluate",
            "Measure a dictionary on text that it was not trained on, beside two nulls: one never trained, one trained "
            "on a model that knows nothing.",
        ),
        "convert": Command(
            "convert:convert",
            "Write a dictionary of any published layout in the native one, or in circuit-tracer's.",
        ),
        "harvest": Command(
            "harvest:harvest", "Read text and catalogue what every feature does on it: one file with a card a feature."
        ),
        "label": Command(
            "labels.label:label",
            "Label features: by rules from their cards, which costs nothing; with --model by a language model, here "
            "or behind --endpoint; with --text by hand. Every label is scored on contexts that its author did not see, "
            "beside labels of other features.",
        ),
        "serve": Command("serve:serve", "Open the workbench: trace prompts, read and label features, edit, compare."),
        "mcp": Command(
            "mcp:mcp",
            "Serve the verbs to agents by the Model Context Protocol, on the standard streams: trace, explain, audit "
            "and more.",
        ),
        "features": CommandGroup(
            help="Features: what an atlas knows of them.",
            commands={
                "show": Command(
                    "features.show:show", "Show the card of one feature, and its labels with their scores."
                ),
                "search": Command(
                    "features.search:search",
                    "Find features: by words of their labels, or in one of the other ways.",
                ),
                "export": Command("features.export:export", "Write all cards with their labels for other programs."),
            },
        ),
        "labels": CommandGroup(
            help="Labels: look at them, share them.",
            commands={
                "show": Command("labels.show:show", "Show the labels of a feature, the one that stands for it first."),
                "export": Command(
                    "labels.export:export",
                    "Write labels to a file that others can import; a file that is no such export is never replaced.",
                ),
                "import": Command("labels.import_:import_", "Add the labels of a file; yours stay as they are."),
                "list": Command(
                    "labels.lists:list_",
                    "Keep features in lists of your own: show them, put features in, take them out.",
                ),
            },
        ),
        "study": CommandGroup(
            help="Studies: experiments, each claim beside its null.",
            commands={
                "list": Command("study.list_:list_", "List the studies: what each asks, and after whom."),
                "run": CommandGroup(
                    help="Run a study; each has settings of its own.",
                    commands={
                        "leakage": Command(
                            "study.run:leakage",
                            "Does a word of the prompt leak into an answer that has nothing to do with it?",
                        ),
                        "capital": Command(
                            "study.run:capital",
                            "By which features does a model come from a country to its capital, in one hop and in two?",
                        ),
                        "greater-than": Command(
                            "study.run:greater_than",
                            "By which features does a model say years that are later than the start year?",
                        ),
                        "persona": Command(
                            "study.run:persona",
                            "By which features does a child refuse a root that a graduate answers?",
                        ),
                        "compression": Command("study.run:compression", "Does a circuit survive quantisation?"),
                        "belief": Command(
                            "study.run:belief",
                            "Does a model that reads signs of a hidden state keep track of how likely every state is?",
                        ),
                        "transcendence": Command(
                            "study.run:transcendence",
                            "Can a model that was taught by experts who err be right more often than each of them?",
                        ),
                        "heads": Command(
                            "study.run:heads",
                            "What do attention heads look at, and which parts of a text are they for?",
                        ),
                        "arcs": Command(
                            "study.run:arcs",
                            "Do stories have shapes, beyond those that noise and shuffled text have?",
                        ),
                        "traits": Command(
                            "study.run:traits",
                            "What do embeddings and features say of personality, and what do they not?",
                        ),
                        "expanders": Command(
                            "study.run:expanders",
                            "Which graphs hold together when edges go, and do a model's circuits look like them?",
                        ),
                        "hallucination": Command(
                            "study.run:hallucination",
                            'Where do wrong answers come from, and where does "I don\'t know"?',
                        ),
                        "experts": Command(
                            "study.run:experts",
                            "Can the experts of a mixture be taught to be for language, logic, people and the world, "
                            "and are they?",
                        ),
                        "subliminal": Command(
                            "study.run:subliminal",
                            "Does a teacher pass on a trait by data that say nothing of it, and to whom?",
                        ),
                        "action-spaces": Command(
                            "study.run:action_spaces",
                            "Can a model play with actions that it has never seen, and which heads know what paid?",
                        ),
                        "development": Command(
                            "study.run:development",
                            "In which order do circuits come about while a model learns, and does its loss landscape "
                            "tell when?",
                        ),
                    },
                ),
                "show": Command(
                    "study.show:show",
                    "Show the claims of a result, each beside its null, and what was seen where the effect must be "
                    "absent.",
                ),
            },
        ),
        "series": CommandGroup(
            help="Models of time series: explain an answer, measure explanations, draw them.",
            commands={
                "explain": Command(
                    "series.explain:explain",
                    "Say which points of a series made a model's answer, or which change would have changed it, and "
                    "test it.",
                ),
                "evaluate": Command(
                    "series.evaluate:evaluate",
                    "Measure how right attributions are: on planted causes, by deletion and insertion, each beside "
                    "nulls.",
                ),
                "plot": Command(
                    "series.plot:plot",
                    "Draw an answer: the series with its attribution under it, or the counterfactual over its "
                    "original.",
                ),
            },
        ),
        "organism": CommandGroup(
            help="The small world: look at it, train its model, examine it.",
            commands={
                "show": Command("organism.show:show", "Draw statements of the small world."),
                "train": Command(
                    "organism.train:train",
                    "Train the small world's model from nothing; Ctrl-C and SIGTERM save a checkpoint, and it resumes "
                    "from there.",
                ),
                "exam": Command(
                    "organism.exam:exam",
                    "Examine a model of the small world: each family's score beside chance, its loss beside the law's "
                    "entropy.",
                ),
            },
        ),
        "kit": CommandGroup(
            help="Kits: a model, its dictionary and where they came from.",
            commands={
                "list": Command(
                    "kit.list_:list_",
                    "List the kits that have a name: bundled ones, models that come as packages, published pairs of "
                    "the hub.",
                ),
                "show": Command("kit.show:show", "Say what a kit holds."),
                "build": Command("kit.build:build", "Put a model, a dictionary and an atlas together."),
                "facts": Command(
                    "kit.facts:facts", "Count what the small world's corpus states, and keep the table in a kit."
                ),
            },
        ),
    },
)
"""Every command, in the order of the help page."""
