"""Configuration of the trainer: the TOML sections of `TrainerConfig`.

The defaults are PPO-max. A trick is one number; 0 turns it off.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainer.presets import PRESETS, PresetName


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class ScaleConfig(Section):
    """How the models that are trained lie in memory, on one process or many."""

    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO: 1 shards the optimiser's state over the processes, 2 the gradients as well, 3 the
    weights as well. 0 on one process is plain PyTorch."""
    offload: Literal["none", "optimizer", "weights"] = "none"
    """What waits in the CPU's memory: `optimizer` its state (needs zero_stage 1 to 3), `weights` these too
    (needs 3)."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """`bf16`: models compute with bf16 weights, optimisers step on fp32 master weights (under ZeRO: fp32
    weights under autocast). `fp32`: slower, and the exact reference."""
    gradient_checkpointing: bool = False
    """Activations are computed again in the backward pass: less memory, a third more time."""
    lora_rank: int = Field(default=0, ge=0)
    """Rank of LoRA adapters on every linear layer, which are trained in place of the weights and merged when
    the model is published; 0 trains all weights."""
    lora_alpha: float = Field(default=32.0, gt=0.0)
    """LoRA's scale: the adapter's product is multiplied by alpha / rank."""

    @model_validator(mode="after")
    def _stage_of_the_offload(self) -> ScaleConfig:
        needed = {"none": 0, "optimizer": 1, "weights": 3}[self.offload]
        if self.zero_stage < needed:
            raise ValueError(f'offload = "{self.offload}" needs zero_stage {needed} or more')
        return self


class SFTConfig(Section):
    """How a policy learns to imitate texts before anything else (SFT)."""

    lr: float = Field(default=2e-5, gt=0.0)
    """Peak learning rate (AdamW)."""
    warmup_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the steps over which the learning rate rises to its peak; after it, it falls linearly."""
    epochs: int = Field(default=2, ge=1)
    """Passes over the texts."""
    batch_texts: int = Field(default=16, ge=1)
    """Texts per optimiser step; a conversation counts as one."""
    micro_batch_tokens: int = Field(default=2048, ge=64)
    """Padded tokens per forward pass; a step is cut into as many passes as it needs."""
    max_tokens: int = Field(default=1024, ge=16)
    """Longest text. Before an answer over it the oldest turns are dropped; plain text is cut into several."""
    max_grad_norm: float = Field(default=1.0, ge=0.0)
    """Global gradient norm is clipped to this; 0 is off."""
    held_out_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the texts that judge and never train, where no file of such texts is given."""
    checkpoint_every: int = Field(default=50, ge=0)
    """Optimiser steps between two checkpoints in the folder of --work; 0 writes none."""
    seed: int = Field(default=0, ge=0)
    """Seed of the split and of the order of the texts."""


class RewardConfig(Section):
    """How the reward model is trained."""

    lr: float = Field(default=1e-5, gt=0.0)
    """Peak learning rate of the transformer (AdamW)."""
    head_lr: float = Field(default=1e-3, gt=0.0)
    """Peak learning rate of the scalar head, which starts at zero."""
    warmup_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the steps over which the learning rate rises to its peak; after it, it falls linearly."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the pairs. A second pass mostly memorises."""
    batch_pairs: int = Field(default=8, ge=1)
    """Pairs per optimiser step; a ranking counts as one."""
    micro_batch_tokens: int = Field(default=4096, ge=64)
    """Padded tokens per forward pass; a step is cut into as many passes as it needs."""
    max_tokens: int = Field(default=1024, ge=16)
    """Longest prompt plus answer. Over it the oldest turns of the prompt are dropped."""
    margin: float = Field(default=0.0, ge=0.0)
    """How far the preferred answer's score has to be ahead before its loss is small."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """Assumed share of votes that say the opposite of what was meant."""
    thumb_coef: float = Field(default=0.1, ge=0.0)
    """Weight of a thumb beside a pair; thumbs up and down get half of theirs each. 0 leaves thumbs out."""
    lm_coef: float = Field(default=0.0, ge=0.0)
    """Weight of the language-model loss on the preferred answer; 0 is off and saves the LM head."""
    seed_share: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Share of the loss weight that seed pairs get, so that they steady a few votes but do not drown many."""
    max_seed_pairs: int = Field(default=128, ge=0)
    """Seed pairs used in one run, and how many `seeds` makes."""
    frozen_layers: int = Field(default=0, ge=0)
    """Lower layers (and the embedding) that keep the policy's weights; saves most of their backward pass."""
    max_grad_norm: float = Field(default=1.0, ge=0.0)
    """Global gradient norm is clipped to this; 0 is off."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """AdamW's decoupled weight decay."""
    seed_answer_tokens: int = Field(default=96, ge=8)
    """Longest answer drawn from the base model for a seed pair."""
    checkpoint_every: int = Field(default=50, ge=0)
    """Optimiser steps between two checkpoints in the folder of --work; 0 writes none."""
    seed: int = Field(default=0, ge=0)
    """Seed of the head's initial weights and of the order of the pairs."""


class RolloutConfig(Section):
    """How answers are drawn from the policy in training."""

    engine: Literal["auto", "vllm", "transformers"] = "auto"
    """`auto` is vLLM where it is installed, else transformers."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Longest answer, end token included."""
    max_prompt_tokens: int = Field(default=512, ge=8)
    """Longest prompt; over it the oldest turns are dropped."""
    temperature: float = Field(default=1.0, gt=0.0, le=2.0)
    """Temperature of the draw; every log-probability in training is taken at the same temperature."""


class PPOConfig(Section):
    """How the policy is trained. The defaults are PPO-max."""

    preset: PresetName = "ppo-max"
    """Where the values come from that are not set here: `ppo-max` (the defaults), `vanilla`, `ppo-max-paper`,
    `ppo-max-repo-en` or `ppo-max-repo-zh`. A value that is set wins over its preset."""
    updates: int = Field(default=16, ge=1)
    """Policy updates in a run: each draws `rollouts` answers and learns from them."""
    rollouts: int = Field(default=32, ge=1)
    """Answers per update (the experience buffer; small keeps the training on-policy)."""
    minibatch: int = Field(default=16, ge=1)
    """Answers per optimiser step."""
    epochs: int = Field(default=1, ge=1)
    """Passes over one buffer."""
    micro_batch_tokens: int = Field(default=8192, ge=64)
    """Padded tokens per forward pass; one with gradients takes a quarter, since it keeps all it computed."""
    lr: float = Field(default=1e-5, gt=0.0)
    """Learning rate of the policy."""
    critic_lr: float = Field(default=3e-5, gt=0.0)
    """Learning rate of the critic."""
    warmup_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the updates over which both learning rates rise from a tenth to their peak; 0 is off."""
    lr_decay: Literal["none", "inverse-sqrt"] = "none"
    """How both learning rates go on from their peak."""
    adam_eps: float = Field(default=1e-5, gt=0.0)
    """Adam's epsilon for the policy."""
    critic_adam_eps: float = Field(default=1e-5, gt=0.0)
    """Adam's epsilon for the critic."""
    critic_pretrain_updates: int = Field(default=1, ge=0)
    """Updates at the start in which only the critic learns, at most."""
    critic_pretrain_epochs: int = Field(default=4, ge=1)
    """Passes over the buffer of each of them, at most."""
    critic_pretrain_target: float = Field(default=0.3, le=1.0)
    """Explained variance at which the critic has learned enough: in the buffer, its passes end; on a new
    buffer, so does the pre-training."""
    kl_coef: float = Field(default=0.05, ge=0.0)
    """Weight of the per-token KL penalty against the reference model; 0 is off."""
    kl_target: float = Field(default=0.0, ge=0.0)
    """Nats per answer that the adaptive controller aims for; 0 keeps `kl_coef` fixed."""
    kl_horizon: float = Field(default=10_000.0, gt=0.0)
    """Answers over which the adaptive controller acts."""
    kl_stop: float = Field(default=60.0, ge=0.0)
    """Nats per answer at which a training counts as collapsed and stops; 0 is off."""
    brake_notches: int = Field(default=0, ge=0, le=10)
    """How far the collapse alarm may brake: an update with a warning goes one notch further, one without goes
    one back; each notch doubles `kl_coef` and halves the policy's learning rate. 0 only warns."""
    score_clip: float = Field(default=5.0, ge=0.0)
    """Scores are normalised by their history and clipped to this many deviations; 0 leaves them raw."""
    score_scaling: bool = False
    """Scores are only divided by the deviation of their history; needs `score_clip` 0."""
    missing_eos_penalty: float = Field(default=1.0, ge=0.0)
    """Taken from the normalised score of an answer that does not end by itself; 0 is off."""
    gamma: float = Field(default=1.0, gt=0.0, le=1.0)
    """Discount."""
    gae_lambda: float = Field(default=0.95, ge=0.0, le=1.0)
    """Bias against variance of the advantage estimate."""
    clip_range: float = Field(default=0.2, ge=0.0)
    """Clip range of the policy ratio; 0 is off."""
    penalty_coef: float = Field(default=0.0, ge=0.0)
    """Start weight of the penalty on KL(old || new) that PPO-penalty has in place of the clip; 0 is off."""
    penalty_target: float = Field(default=0.01, gt=0.0)
    """Nats per token and update that the penalty's weight adapts to."""
    ratio_against: Literal["old", "reference"] = "old"
    """Denominator of the policy ratio; `reference` is what the paper calls importance sampling."""
    value_clip_range: float = Field(default=0.2, ge=0.0)
    """Clip range of the value; 0 is off."""
    advantage_whiten: bool = False
    """Advantages get mean 0 and variance 1 over the buffer's tokens."""
    advantage_clip: float = Field(default=0.0, ge=0.0)
    """Advantages, whitened or not, are clipped to this; 0 is off."""
    approx_kl_stop: float = Field(default=0.03, ge=0.0)
    """Nats per token that the policy may have moved from the one that answered; the minibatch that finds it
    further away is the last of its update. 0 is off."""
    importance_limit: float = Field(default=2.0, ge=0.0)
    """Limit of the importance weights that correct the engine's log-probabilities; 0 is off."""
    entropy_coef: float = Field(default=0.0, ge=0.0)
    """Weight of the entropy hinge; 0 is off. PPO-max has none: the KL penalty holds better."""
    entropy_target: float = Field(default=1.0, gt=0.0)
    """Nats per token below which the hinge pulls the entropy up; beyond the logarithm of the vocabulary
    the hinge is a plain bonus."""
    ptx_coef: float = Field(default=0.0, ge=0.0)
    """Weight of the language-model loss on the texts of `--ptx` (PPO-ptx); 0 is off."""
    ptx_batch: int = Field(default=8, ge=1)
    """Texts of `--ptx` per optimiser step."""
    max_grad_norm: float = Field(default=1.0, ge=0.0)
    """Gradient norm of policy and critic, clipped apart; 0 is off."""
    checkpoint_every: int = Field(default=5, ge=0)
    """Updates between two checkpoints; 0 writes none, and an interrupted training starts again."""
    fixed_every: int = Field(default=4, ge=0)
    """Updates between two looks at the greedy answers to four fixed prompts; 0: none."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draws and of the order of the prompts."""

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return PRESETS.get(str(given.get("preset")), {}) | given

    @model_validator(mode="after")
    def _one_score_transform(self) -> PPOConfig:
        if self.score_scaling and self.score_clip > 0:
            raise ValueError("score_scaling needs score_clip = 0: normalised scores are scaled already")
        return self


class GroupsConfig(Section):
    """Group-invariant learning (arXiv 2310.11971) on top of PPO-max."""

    source: Literal["off", "learned", "quantile", "random"] = "off"
    """Who puts an answer into one of two groups: `off` nobody, `learned` a head on the critic, `quantile` the
    median score (baseline), `random` a coin (control)."""
    objective: Literal["variance", "dro"] = "variance"
    """`variance` shapes the scores against the variance between groups; `dro` weighs the worse group up."""
    policy_coef: float = Field(default=0.01, ge=0.0)
    """Weight of the variance between groups in the policy's objective; 0 is off."""
    kl_mode: Literal["off", "published", "mean-preserving"] = "mean-preserving"
    """Per-answer KL coefficient: `published` multiplies it by the probability of the better group, which
    about halves it; `mean-preserving` moves up to half of the penalty from the worse group to the better, the
    more the farther they are apart."""
    critic_coef: float = Field(default=1.0, ge=0.0)
    """Weight of the variance between groups in the head's objective, which looks for groups far apart."""
    entropy_coef: float = Field(default=1.0, ge=0.0)
    """Weight of the hinge that keeps both groups populated; 0 is off."""
    entropy_floor: float = Field(default=0.6, ge=0.0, lt=0.6932)
    """Entropy of the groups' shares, in nats, below which the hinge acts; two equal groups have 0.693."""
    head_lr: float = Field(default=1e-3, gt=0.0)
    """Learning rate of the group head."""
    head_steps: int = Field(default=4, ge=1)
    """Steps of the group head per update, each on the whole buffer."""
    dro_rate: float = Field(default=0.1, gt=0.0)
    """How fast `dro` moves weight to the worse group."""


class RewardGateConfig(Section):
    """When a policy may be trained towards a reward model. An interval refuses when all of it is wrong."""

    min_accuracy: float = Field(default=0.6, ge=0.0, le=1.0)
    """Share of the held-out pairs that must be ranked as the votes say."""
    max_calibration_error: float = Field(default=0.2, ge=0.0, le=1.0)
    """How much surer than right it may be, beyond what chance explains."""
    max_length_bias: float = Field(default=0.1, ge=0.0, le=1.0)
    """How much oftener or more rarely than people it may expect the longer answer to be preferred."""
    min_agreement: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the held-out pairs that it must rank as the reward model before it does."""
    best_of: int = Field(default=4, ge=2)
    """Answers to each prompt, of which it chooses one."""
    best_of_prompts: int = Field(default=24, ge=1)
    """Held-out prompts on which its choices are judged by the held-back reward model."""
    min_best_of_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the prompts on which its choice must be better than the mean answer."""
    max_longest_excess: float = Field(default=0.25, ge=0.0, le=1.0)
    """How much oftener than the held-back reward model it may choose the longest answer."""


class GateConfig(Section):
    """When a candidate may serve."""

    max_prompts: int = Field(default=48, ge=1)
    """Held-out prompts that candidate and active version answer."""
    min_win_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of prompts on which the candidate's answer must score above the active version's."""
    min_held_back_win_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """The same under the held-back reward model: refused when the whole interval lies below."""
    max_group_gap: float = Field(default=0.2, ge=0.0, le=1.0)
    """How far the win share of the worst group of prompts may lie below that of all: its whole interval."""
    min_group_prompts: int = Field(default=8, ge=1)
    """Prompts that make a group; smaller ones are not judged."""
    max_capability_drop: float = Field(default=0.05, ge=0.0, le=1.0)
    """By how much the chance of a right answer to the fixed questions may fall: the whole interval."""
    max_safety_drop: float = Field(default=0.05, ge=0.0, le=1.0)
    """By how much the chance of refusing the fixed harmful requests may fall: the whole interval."""
    max_kl: float = Field(default=30.0, gt=0.0)
    """Nats per answer that the candidate may be away from the reference."""
    max_perplexity_ratio: float = Field(default=1.25, gt=1.0)
    """Perplexity on plain text may rise to this multiple of the active version's: its language skill."""
    max_answer_perplexity_ratio: float = Field(default=3.0, gt=1.0)
    """Perplexity of the answers under the reference may rise to this multiple of the active version's."""
    min_entropy_ratio: float = Field(default=0.4, ge=0.0)
    """Entropy may fall to this multiple of the active version's."""
    max_repeat_share: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of an answer's 4-grams that it may have said before."""
    max_truncated_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of answers that may run into the length limit, beyond the active version's."""
    min_length_ratio: float = Field(default=0.1, ge=0.0)
    """Answers may become this much shorter than the active version's."""
    max_length_ratio: float = Field(default=2.0, gt=1.0)
    """Answers may become this much longer than the active version's."""


class TrainerConfig(Section):
    """Everything that says how the trainer works."""

    scale: ScaleConfig = ScaleConfig()
    """[scale]"""
    sft: SFTConfig = SFTConfig()
    """[sft]"""
    reward: RewardConfig = RewardConfig()
    """[reward]"""
    rollout: RolloutConfig = RolloutConfig()
    """[rollout]"""
    ppo: PPOConfig = PPOConfig()
    """[ppo]"""
    groups: GroupsConfig = GroupsConfig()
    """[groups]"""
    reward_gate: RewardGateConfig = RewardGateConfig()
    """[reward_gate]"""
    gate: GateConfig = GateConfig()
    """[gate]"""
