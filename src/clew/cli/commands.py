"""The table of commands: where each is defined, and the line that `--help` lists it with."""

from __future__ import annotations

from clew.cli.lazy_group import Command, CommandGroup

COMMANDS = CommandGroup(
    help="See how a language model came to its answer, and check it.",
    commands={
        "trace": Command("trace:trace", "Trace how the model came to its next token."),
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
            "Label features: by rules from their cards, which costs nothing; with --endpoint by a language model; with "
            "--text by hand. Every label is scored on contexts that its author did not see, beside labels of other "
            "features.",
        ),
        "serve": Command("serve:serve", "Open the workbench: trace prompts, read and label features, edit, compare."),
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
            },
        ),
    },
)
"""Every command, in the order of the help page."""
