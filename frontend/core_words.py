"""What the training core says of its stages and settings, named here so that the catalogs of translations have it.

The core is a program of its own and speaks English. Pages show its docstrings, its refusals, the phases of a run and
the reasons for leaving out a row in the reader's language, by way of these lists; a test holds them to the core.
"""

from __future__ import annotations

from django.utils.translation import gettext_noop as _

HELP = (  # of the stages and of their settings, in training/rlhf/config.py
    _("A byte-level BPE and a small Llama, trained from nothing on a corpus."),
    _("Tokens in a block, and the limit of the model that comes out."),
    _("Peak learning rate of AdamW; a model of a million parameters takes 1e-3 to 3e-3, a larger one less."),
    _("After warm-up: cosine falls to a tenth of the peak, linear to zero, constant stays."),
    _("Decoupled weight decay on matrices; vectors (norms, biases) are not decayed."),
    _("AdamW's decay of the mean gradient."),
    _("AdamW's decay of the mean squared gradient."),
    _("AdamW's epsilon; 1e-5 as in the published RLHF runs."),
    _("Gradients are scaled down to this total norm; 0 leaves them as they are."),
    _(
        "Most tokens in one forward pass, padding included; a batch is split into as many passes as it needs. "
        "Lower it when memory runs out: the result stays the same up to rounding."
    ),
    _(
        "Compute each layer's activations anew on the way back instead of keeping them: less memory for about a third "
        "more time. The result stays the same."
    ),
    _(
        "Rank of the LoRA adapters (arXiv:2106.09685), which are trained in place of the weights; 0 trains all "
        "weights. Adapters take little memory and a learning rate about ten times as high."
    ),
    _("An adapter's output is scaled by this over its rank; 0 takes twice the rank."),
    _(
        "Linear layers that get an adapter: all of them, or the last parts of their names with commas between, such as "
        "q_proj,v_proj."
    ),
    _(
        "Share of an adapter's inputs that is dropped in training. PPO takes none: with dropout the probability ratio "
        "is not 1 before the first step."
    ),
    _("Hold the weights under the adapters in 4 bits (QLoRA, arXiv:2305.14314). Needs a GPU and bitsandbytes."),
    _("Save a checkpoint each so many steps; 0 leaves it to the clock."),
    _(
        "Save a checkpoint each so many seconds too; 0 leaves it to the steps. It is written beside training, and "
        "changes no result."
    ),
    _("Newest checkpoints that are kept; an older one goes when a newer one is safe."),
    _(
        "Beside the newest, the checkpoint with the best value of a metric is kept, to go back to: auto takes the "
        "stage's own (the validation loss; a reward model's accuracy; the score of held-out prompts), none keeps "
        "none, and lowest or highest with a metric's name chooses another, such as highest value/explained_variance."
    ),
    _(
        "Stop the run as failed when the training loss stays above this many times what it began with (taken as 1 at "
        "least) for 3 steps in a row; 0 never. The last checkpoint is kept."
    ),
    _(
        "Stop the run as failed when the mean KL to the reference stays above this many nats a token for 3 updates in"
        " a row, which no useful policy reaches; 0 never. The last checkpoint is kept."
    ),
    _("Save what has been sampled each so many batches; 0 leaves it to the clock."),
    _("Evaluate on the validation rows each so many steps (and at the end); 0 only at the end."),
    _("Validation rows used at most; the first so many, always the same."),
    _("Tokens in the vocabulary: 256 bytes, 5 control tokens, and what the BPE learns."),
    _("Width of the model."),
    _("Transformer layers."),
    _("Attention heads; hidden_size is divided among them."),
    _("Width of the feed-forward layer; 0 takes 8/3 of hidden_size, rounded up to a multiple of 32."),
    _("Blocks for each optimiser step."),
    _("Steps over which the learning rate rises from a tenth of its peak to the peak."),
    _("Passes over the corpus."),
    _("Stop after so many steps; 0 goes by epochs."),
    _("Show a continuation of a validation text each so many steps; 0 never."),
    _("Supervised fine-tuning on demonstrations (InstructGPT, arXiv:2203.02155, section 3.5 and appendix C.1)."),
    _(
        "Longest sequence in tokens, prompt and answer together; 0 takes the model's own limit. Longer rows "
        "are filtered out and counted, never cut."
    ),
    _("Peak learning rate of AdamW."),
    _("Demonstrations for each optimiser step."),
    _("Passes over the demonstrations."),
    _("Which weights become the model: the last ones, or those of the lowest validation loss."),
    _("Answer some validation prompts each so many steps; 0 never."),
    _("Validation prompts that are answered."),
    _("Temperature of those answers; 0 takes the likeliest token."),
    _("Longest of those answers, in tokens."),
    _("A reward model from rankings (InstructGPT section 3.5, equation 1; appendix C.2)."),
    _("Peak learning rate of AdamW; InstructGPT's 9e-6 is for 6B parameters, small models take up to 1e-3."),
    _("Rankings for each optimiser step; all pairs of a ranking are trained together."),
    _("Passes over the rankings; more than one overfits quickly."),
    _(
        "What two answers of equal rank teach: drop nothing; half that each wins half the time; margin the "
        "Rao-Kupper model, in which scores closer than tie_margin are likely to tie."
    ),
    _("The margin of the Rao-Kupper model, in units of score."),
    _(
        "What the chosen answer must win by: none nothing; ranks more for a wider gap of ranks; ratings more "
        "for a wider gap of ratings (Llama 2, arXiv:2307.09288, equation 2)."
    ),
    _("The margin of the widest gap, in units of score."),
    _(
        "How a ranking is scored: pairs is InstructGPT's mean over all pairs (Bradley-Terry); plackett_luce chooses "
        "the best of all, then the best of the rest, and so on. With two answers they are the same."
    ),
    _(
        'How much some labelers\' rankings count, by pseudonym: "p1a2b3 0.5, p4c5d6 0". All others count 1; 0 leaves a '
        "labeler out. Only proportions within a batch matter."
    ),
    _("PPO against a reward model with a KL penalty to the reference (InstructGPT section 3.5, equation 2; C.4)."),
    _("Peak learning rate of the policy; small models take up to 1e-4."),
    _("Answer the held-out prompts each so many updates (and at the end); 0 only at the end."),
    _("Held-out prompts used at most; the first so many, always the same."),
    _("Updates: each samples rollouts, scores them and takes optimiser steps on them."),
    _("Answers sampled for each update."),
    _("Rollouts for each optimiser step."),
    _("Passes over the rollouts of an update."),
    _("Peak learning rate of the value model."),
    _("Updates over which the learning rates rise from a tenth of their peak to the peak."),
    _("First updates in which only the value model learns."),
    _("Weight of the KL penalty per token, beta; InstructGPT used 0.02."),
    _("Steer kl_coef so that the KL stays near this many nats a response (Ziegler et al. 2019: 6); 0 keeps kl_coef."),
    _("Rollouts over which kl_coef is steered, where there is a kl_target; fewer steer faster."),
    _("Discount of later rewards."),
    _("Lambda of generalised advantage estimation (arXiv:1506.02438)."),
    _("How far the probability ratio may move from 1 before its gradient is cut."),
    _("How far a value may move from its old value before its gradient is cut, in units of reward."),
    _("Scale advantages to mean 0 and deviation 1 over all tokens of an update."),
    _("Sampling temperature; every log-probability is taken at the same temperature."),
    _("Longest answer, in tokens; prompts that leave no room for it in the context are filtered out and counted."),
    _("Taken off the score of an answer that does not end by itself."),
    _("Weight of the mean cross-entropy on pretraining text (PPO-ptx); 0 leaves it out, 1 is already strong."),
    _("Pretraining texts for each optimiser step, if ptx_coef is above 0."),
    _("Publish a moving average of the policy's weights with this decay an update (InstructGPT: 0.992); 0 the last."),
    _("Stop the run, and publish, when the mean KL to the reference passes this many nats a response; 0 never stops."),
    _("End an update's remaining optimiser steps when the policy has moved this far from its rollouts; 0 never."),
    _("Leave out an optimiser step whose mean probability ratio is above this, which is damage; 0 takes every step."),
    _(
        "Most tokens, prompts and room for answers together, that are decoded side by side; lower it when "
        "memory runs out."
    ),
    _("Show some answers with their scores each so many updates; 0 never."),
    _("Answers that are shown."),
    _("RLOO: REINFORCE with the other answers to a prompt as the baseline (Ahmadian et al. 2024, arXiv:2402.14740)."),
    _("Prompts answered for each update."),
    _("Answers to each prompt, k; each is measured against the mean of the others."),
    _(
        "reinforce takes one step on all answers of an update, by the policy that wrote them; clip takes several on "
        "parts of them, as PPO does, with the probability ratio of whole answers clipped."
    ),
    _("Answers for each optimiser step, where the loss is clip; 0 takes all of the update at once."),
    _("Passes over the answers of an update, where the loss is clip."),
    _("DPO: a policy straight from rankings, without a reward model (Rafailov et al. 2023, arXiv:2305.18290)."),
    _("Peak learning rate of AdamW; small models take up to 1e-4."),
    _(
        "Beta: how dear distance from the reference is. An answer's reward is this times the log of how much likelier "
        "it has become."
    ),
    _("Passes over the rankings."),
    _(
        "Validation prompts that are answered at each evaluation, to see how far the policy has moved from the "
        "reference; 0 none."
    ),
    _(
        "Answers of each policy to a prompt, in the order of the policies, such as 2 1 1; left empty, all give as "
        "many, and take turns with what is left over."
    ),
    _(
        "Temperatures that a policy's answers to a prompt take in turn, such as 0.7 1.0; a list for each policy has "
        "semicolons between: 1.0; 0.7 1.0. Left empty, there is one temperature for all."
    ),
    _("Answers of one policy or several to prompts, for people to rank."),
    _("Answers to each prompt, K."),
    _("Sampling temperature; 0 takes the likeliest token."),
    _("Sample among the likeliest tokens that hold this much probability; 1 among all."),
    _("Longest answer, in tokens."),
    _("Most tokens generated side by side, padding included."),
    _(
        "Rounds in which an answer equal to another one of its prompt is drawn anew; what is left then is "
        "kept, and counted."
    ),
    _("Save what has been sampled each so many seconds; 0 only when stopped."),
    _("Answers that are shown on the run's page."),
    _("Measures of a finished policy or reward model on held-out rows."),
    _("Most tokens in one forward pass, padding included."),
    _(
        "Answers to each prompt. More of them narrow the intervals, and with a reward model show best-of-n for every n "
        "up to this one."
    ),
    _("Temperature at which the prompts are answered."),
)

PHASES = (  # what a run is at between its steps
    _("starting"),
    _("comparing with the reference"),
    _("scoring"),
    _("answering"),
    _("training"),
    _("validating"),
    _("generating"),
    _("learning the vocabulary"),
    _("reading the corpus"),
    _("reading the rankings"),
    _("reading the demonstrations"),
    _("scoring the demonstrations"),
    _("loading the models"),
    _("reading the prompts"),
    _("checking inputs"),
)

REASONS = (  # why a row was left out
    _("row without text"),
    _("text that spells a control token"),
    _("kept for evaluation"),
    _("does not count"),
    _("no pair to learn from: all answers are tied"),
    _("ranks that do not fit the completions"),
    _("fewer than two ranked answers"),
    _("prompt longer than the context"),
    _("an answer longer than the context"),
    _("a rank that is not a number"),
    _("an answer without content"),
    _("a weight that is not a number of 0 or more"),
    _("a rating scale that is none"),
    _("a ranking or a labeler of weight 0"),
    _("longer than the context"),
    _("prompt longer than the context, less the room for an answer"),
    _("prompt that was there before"),
    _("empty completion"),
    _("prompt without messages"),
    _("completion that does not end with the assistant"),
    _("conversation that the chat template rewrites as it grows"),
    _("completion that is not one assistant message"),
    _("message whose role is not system, user or assistant"),
    _("message without text"),
)

SPLITS = (  # the files of a snapshot
    _("train"),
    _("validation"),
    _("test"),
)

OUTCOMES = (  # of an attempt at a run
    _("finished"),
    _("stopped"),
    _("failed"),
    _("lost"),
    _("cancelled"),
)

REFUSALS = (  # of a setting, in training/rlhf/config.py
    _("%(name)s must be auto, none, or lowest or highest and a metric's name, got %(value)r"),
    _("%(name)s must be a multiple of twice the heads (%(limit)s), got %(value)s"),
    _("%(name)s must be at most rollouts_per_update (%(limit)s), got %(value)s"),
    _("%(name)s must be false without adapters (lora_rank is 0), got %(value)s"),
    _("%(name)s must be all, or names of layers, got %(value)r"),
    _("%(name)s must be 0 in PPO, where the probability ratio is 1 before the first step; got %(value)s"),
    _("%(name)s must be 1 at temperature 0, where all answers are the same; got %(value)s"),
    _("%(name)s must be drop or half where the loss is plackett_luce, got %(value)s"),
    _("%(name)s must be none where the loss is plackett_luce, got %(value)s"),
    _("%(name)s must be pseudonyms with weights of 0 or more, got %(value)r"),
    _("%(name)s must be %(limit)s where the loss is reinforce, which takes one step; got %(value)s"),
    _("%(name)s must add up to samples_per_prompt (%(limit)s), got %(value)r"),
    _("%(name)s must be numbers from 0 to 10, got %(value)r"),
    _("%(name)s must be numbers with spaces between, got %(value)r"),
    _("there is no stage %(stage)r; the stages are %(known)s"),
    _("there is no setting %(setting)r in %(where)s; the settings are %(known)s"),
    _("%(name)s must be a number, got %(value)r"),
    _("%(name)s must be a whole number, got %(value)r"),
    _("%(name)s must be true or false, got %(value)r"),
    _("%(name)s must be a text, got %(value)r"),
    _("%(name)s must be a finite number, got %(value)s"),
    _("%(name)s must be one of %(limit)s, got %(value)r"),
    _("%(name)s must be above %(limit)s, got %(value)s"),
    _("%(name)s must be at least %(limit)s, got %(value)s"),
    _("%(name)s must be at most %(limit)s, got %(value)s"),
)
