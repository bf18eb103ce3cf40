"""The torch core: from a corpus to a policy trained on human preference, one stage a file.

    pretrain   corpus           -> base model        config.py      every setting of every stage
    sft        demonstrations   -> policy            workspace.py   a run: inputs checked, events out, checkpoints
    reward     rankings         -> reward model      tokens.py      messages <-> token ids
    ppo        prompts          -> policy            data.py        rows, masks, batches
    dpo        rankings         -> policy            model.py       policies and reward models, loaded and saved
    rloo       prompts          -> policy            losses.py      pure functions, with their sources
    sample     prompts          -> responses         measures.py    accuracy, calibration, best-of-n, with intervals
    evaluate   held-out rows    -> report            optim.py       AdamW, schedules, clipping
                                                     checkpoint.py  exact state, written atomically

    PPO's parts: generate.py (sampling; its steps are in decode.py, straight.py and decode_plain.py), rollouts.py
    (answers, and what each model says of them), rewards.py (KL, GAE, whitening), ppo_losses.py (clipped losses),
    diagnose.py (why probabilities that must agree do not), ptx.py (pretraining text mixed in), ema.py

`python -m training.rlhf <stage> --config run.json` runs one stage. Each stage is a generator that yields `StepMetrics`;
between two yields it owns the state, at a yield the state is whole, and the harness may save it or stop.

Shapes: B sequences, T tokens, V vocabulary, D width, R response length, N selected tokens. A mask is True where a token
counts. Padding is on the right except while generating. Scores and KL are in units of reward and in nats.
"""
