"""What is known of every network of the zoo."""

# name: (parameters, MACs for one image of the network's own shape), to the last one. Published: LeNet-5, U-Net and the
# CIFAR ResNets; the others are counted by hand or hold a change of them up.
COUNTED = {
    "lenet5": (61_706, 416_520),
    "mlp": (669_706, 784 * 512 + 512 * 512 + 512 * 10),
    "perceptron": (7_850, 7_840),
    "random_filters": (243, 3 * 81 * 300 * 451),
    "small_vgg": (
        72_666,
        9 * 784 * (16 + 16 * 16) + 9 * 196 * (16 * 32 + 32 * 32) + 9 * 49 * (32 * 64 + 64 * 64) + 640,
    ),
    "alexnet_cifar": (5_868_362, 179_075_072),
    "alexnet_paper": (60_965_224, 724_406_816),
    "convnext_tiny_cifar": (27_825_802, 1_452_559_872),
    "efficientnet_b0_cifar": (4_020_358, 116_167_168),
    "fcn_resnet18": (11_918_250, 52_777_483_200),
    "googlenet_cifar": (5_602_474, 452_175_872),
    "mobilenet_v2_cifar": (2_236_682, 87_976_448),
    "resnet110": (1_727_962, 252_887_680),
    "resnet18_cifar": (11_173_962, 555_422_720),
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet50_cifar": (23_520_842, 1_297_829_888),
    "resnet50_dcn": (25_805_918, 4_101_377_024),
    "resnet50_dcnv2": (26_428_295, 4_278_172_160),
    "resnet56": (853_018, 125_485_696),
    "resnext50_32x4d_cifar": (22_992_714, 1_343_967_232),
    # 2x2 whitening to 24 maps of 31x31, pairs of 3x3 convolutions at 31 and 15, 15 and 7, 7 and 3 pixels, the head.
    "speed_cnn": (
        24 * 12 + 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256) + 2 * (2 * 64 + 4 * 256) + 2560,
        31 * 31 * 24 * 12
        + 9 * (31**2 * 24 * 64 + 15**2 * 64 * 64 + 15**2 * 64 * 256 + 7**2 * 256**2 * 2 + 3**2 * 256**2)
        + 2560,
    ),
    "unet": (31_037_698, 48_171_581_440),
    "unet_no_skip": (27_904_258, 38_507_905_024),
    "unet_paper": (31_030_658, 150_428_424_448),
    "vgg11_bn_cifar": (9_228_362, 152_769_536),
    "vgg16_bn_cifar": (14_724_042, 313_201_664),
}

# name: (parameters, 10^9 MACs for one image of the network's own shape), both as torchvision publishes them, and the
# beginning of the SHA-256 of its state dict's keys, shapes and dtypes, from benchmarks/parity/zoo.py.
PUBLISHED = {
    "alexnet": (61_100_840, 0.714, "649d31563b0127f5"),
    "convnext_base": (88_591_464, 15.355, "b07d8a2ef502f4c3"),
    "convnext_large": (197_767_336, 34.361, "e438613ea5502dba"),
    "convnext_small": (50_223_688, 8.684, "82df16682c0a5d9f"),
    "convnext_tiny": (28_589_128, 4.456, "ac589408e040fe58"),
    "deeplabv3_resnet101": (60_996_202, 258.743, "4583147bddd7fa33"),
    "deeplabv3_resnet50": (42_004_074, 178.722, "ac1e0b15b65992e9"),
    "efficientnet_b0": (5_288_548, 0.386, "f9c03e803c0857e3"),
    "efficientnet_b1": (7_794_184, 0.687, "bfeddfd1223a84db"),
    "efficientnet_b2": (9_109_994, 1.088, "d3c48eda52183a6b"),
    "efficientnet_b3": (12_233_232, 1.827, "e962a30f0b4deb4c"),
    "efficientnet_b4": (19_341_616, 4.394, "01fff2d092db674a"),
    "efficientnet_b5": (30_389_784, 10.266, "3d30fa006ed27c1e"),
    "efficientnet_b6": (43_040_704, 19.068, "e4c7419aa0f483c3"),
    "efficientnet_b7": (66_347_960, 37.746, "5f49b6201cea4b65"),
    "fcn_resnet101": (54_314_346, 232.738, "d52d04bdd6ef9b33"),
    "fcn_resnet50": (35_322_218, 152.717, "7d81769f078f4f92"),
    "googlenet": (6_624_904, 1.498, "1916c4319d7d4b1b"),
    "mobilenet_v2": (3_504_872, 0.301, "e295766f30dc3336"),
    "resnet101": (44_549_160, 7.801, "59df6a08dcc322b0"),
    "resnet152": (60_192_808, 11.514, "5e6a489f59796aab"),
    "resnet18": (11_689_512, 1.814, "96a672b6f666be68"),
    "resnet34": (21_797_672, 3.664, "781a7cdd18e2a9e5"),
    "resnet50": (25_557_032, 4.089, "537b1c87e6f187e4"),
    "resnext101_32x8d": (88_791_336, 16.414, "75dd6e7490e23186"),
    "resnext50_32x4d": (25_028_904, 4.230, "9cb9371292b7f1d5"),
    "vgg11": (132_863_336, 7.609, "5777e9251b20931c"),
    "vgg11_bn": (132_868_840, 7.609, "58f979cc1343c9fc"),
    "vgg13": (133_047_848, 11.308, "f3f1787c116c7529"),
    "vgg13_bn": (133_053_736, 11.308, "7e78a5957e621a0a"),
    "vgg16": (138_357_544, 15.47, "ad859f1dee5d5a49"),
    "vgg16_bn": (138_365_992, 15.47, "196d8b674ea8a544"),
    "vgg19": (143_667_240, 19.632, "c310a68658cc55c1"),
    "vgg19_bn": (143_678_248, 19.632, "fa4e7cf8778145e5"),
}
