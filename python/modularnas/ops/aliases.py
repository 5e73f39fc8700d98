"""Names that other libraries and papers give to the ops, as data: their name to ours.

`{k}` stands for an integer. Where the original differs in a detail, the family's file says how.
"""

from __future__ import annotations

__all__ = ["ALIASES"]

ALIASES: dict[str, str] = {
    # DARTS (Liu, Simonyan and Yang 2018, arXiv 1806.09055) and NAS-Bench-201 (Dong and Yang 2020, arXiv 2001.00326)
    "skip_connect": "identity",
    "zero": "none",
    "conv_{k}x1_1x{k}": "conv_1x{k}_{k}x1",
    # NAS-Bench-101 (Ying et al. 2019, arXiv 1902.09635)
    "conv{k}x{k}-bn-relu": "conv_bn_relu_{k}x{k}",
    "maxpool{k}x{k}": "max_pool_{k}x{k}",
    # ProxylessNAS (Cai, Zhu and Han 2018, arXiv 1812.00332) and Once-for-All
    "{k}x{k}_MBConv{e}": "mbconv_k{k}_e{e}",
    "Zero": "none",
    "Identity": "identity",
    # FBNet (Wu et al. 2018, arXiv 1812.03443), and NAS-Bench-Macro (Su et al. 2021, arXiv 2103.11922)
    "ir_k{k}_e{e}": "mbconv_k{k}_e{e}_relu",
    "ir_k{k}_e{e}_se": "mbconv_k{k}_e{e}_se_relu",
    "ir_{k}x{k}_t{e}": "mbconv_k{k}_e{e}",
    # SPOS (Guo et al. 2019, arXiv 1904.00420)
    "shuffle_xception": "shuffle_x_3x3",
    # ModularNAS (Lin et al., MLSys 2021); its order of norm, activation and weight is a setting, ours is DARTS'
    "AVG": "avg_pool_3x3_bn",
    "MAX": "max_pool_3x3_bn",
    "IDT": "identity",
    "IDF": "identity",
    "FTR": "factorized_reduce",
    "NIL": "none",
    "ZERO": "none",
    "AP{k}": "avg_pool_{k}x{k}_bn",
    "MP{k}": "max_pool_{k}x{k}_bn",
    "SC{k}": "sep_conv_{k}x{k}",
    "SS{k}": "sep_conv_{k}x{k}_single",
    "NC{k}": "nor_conv_{k}x{k}",
    "DC{k}": "dil_conv_{k}x{k}",
    "DD{k}": "dil_conv_{k}x{k}_d3",
    "FC{k}": "conv_1x{k}_{k}x1",
    "MB{k}E{e}": "mbconv_k{k}_e{e}",
    "M3B{k}E{e}": "mbv3_k{k}_e{e}",
    "M3B{k}E{e}H": "mbv3_k{k}_e{e}_hswish",
    "M3B{k}E{e}S": "mbv3_k{k}_e{e}_se",
    "M3B{k}E{e}SH": "mbv3_k{k}_e{e}_se_hswish",
    "SHU{k}": "shuffle_{k}x{k}",
    "SHX{k}": "shuffle_x_{k}x{k}",
    # activations, as torch's classes are called
    "swish": "silu",
    "hardswish": "hswish",
    "hardsigmoid": "hsigmoid",
}
