"""What the pages say about each tutorial: what one learns, what one must know, how long it takes.

Hours are those of a second-year student who reads, runs the cells and does the three exercises.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    """A tutorial, in a few lines."""

    learn: tuple[str, ...]
    needs: str
    hours: float
    chinese: tuple[str, ...] = ()
    needs_chinese: str = ""


LESSONS = {
    "01": Lesson(
        (
            "write the forward and the backward pass of an MLP in NumPy",
            "derive $dz = (p - y)/B$ for softmax with cross-entropy",
            "check a gradient by central differences, and know which step size to take",
        ),
        "derivatives, matrix products, a little NumPy",
        3,
        (
            "用 NumPy 写出 MLP 的前向传播和反向传播",
            "推导 softmax 加交叉熵的梯度 $dz = (p - y)/B$",
            "用中心差分检查梯度，并知道步长怎么选",
        ),
        "导数、矩阵乘法，会一点 NumPy",
    ),
    "02": Lesson(
        (
            "say what a temperature does to a softmax, and derive both limits",
            "measure that soft targets hold knowledge and not noise",
            "compute softmax and its logarithm without overflow",
        ),
        "tutorial 01, or softmax and cross-entropy from elsewhere",
        2.5,
        (
            "说清楚温度对 softmax 做了什么，并推导两端的极限",
            "用测量说明软目标里是知识，不是噪声",
            "计算 softmax 和它的对数而不溢出",
        ),
        "第 01 课，或者已经知道 softmax 和交叉熵",
    ),
    "03": Lesson(
        (
            "derive the gradient of distillation line by line",
            "say why the loss has a factor T²",
            "unit-test a gradient, and know which mistakes such a test misses",
        ),
        "tutorials 01 and 02",
        3,
        (
            "逐行推导知识蒸馏的梯度",
            "说清楚损失里为什么有 T²",
            "给梯度写单元测试，并知道这样的测试发现不了哪些错误",
        ),
        "第 01 课和第 02 课",
    ),
    "04": Lesson(
        (
            "train a teacher, freeze it, and train a student with its answers",
            "tell knowledge from regularisation by controls",
            "find the mistakes of a loop that is often printed",
        ),
        "tutorials 01 to 03",
        3.5,
        (
            "训练教师模型，把它冻结，再用它的回答训练学生模型",
            "用对照实验区分知识和正则化",
            "找出一个流传很广的循环里的错误",
        ),
        "第 01 到 03 课",
    ),
    "05": Lesson(
        (
            "tune learning rate, temperature and soft weight on validation data",
            "read a 95 % interval, and say what is undecided",
            "see why the best of many runs promises too much",
        ),
        "tutorial 04; mean and variance",
        3,
        (
            "在验证集上调学习率、温度和软权重",
            "读懂 95% 置信区间，说出哪些结果是未定",
            "明白为什么许多次运行里最好的那一次靠不住",
        ),
        "第 04 课；均值和方差",
    ),
    "06": Lesson(
        (
            "repeat Hinton's experiment with a digit that the student never sees",
            "say what a bias of the last layer stands for, and correct it",
        ),
        "tutorial 04; MNIST (11 MB, downloaded once)",
        2.5,
        (
            "重做 Hinton 的实验：学生模型从未见过某个数字",
            "说出最后一层的偏置代表什么，并把它改正",
        ),
        "第 04 课；MNIST（11 MB，只下载一次）",
    ),
    "07": Lesson(
        (
            "turn text into vectors by n-grams and hashing",
            "draw a family tree of languages from a teacher's soft answers",
            "distil a language identifier",
        ),
        "tutorials 02 and 04; the Universal Declaration in 26 languages (downloaded once)",
        3,
    ),
    "08": Lesson(
        (
            "turn sound into a spectrogram by hand: frames, Fourier transform, mel scale",
            "split data by speaker, and see what happens if one does not",
            "store a network in int8, and count what that costs",
        ),
        "tutorial 04; sines and cosines; spoken digits (downloaded once)",
        3,
    ),
    "09": Lesson(
        (
            "derive losses on logits, on hidden layers and on relations between samples",
            "compare nine methods and two controls with everything else the same",
        ),
        "tutorials 03 and 04",
        4,
        (
            "推导三类损失：在 logits 上、在隐藏层上、在样本之间的关系上",
            "在其他条件相同时比较九种方法和两种对照",
        ),
        "第 03 课和第 04 课",
    ),
    "10": Lesson(
        (
            "train two networks that teach each other, and say which gradients must not flow",
            "train generations of students of the same size",
        ),
        "tutorials 03 and 04",
        2.5,
    ),
    "11": Lesson(
        (
            "carry a gradient through two frozen networks, down to the input",
            "distil without data, and without labels",
            "see how a trait passes through data that do not show it",
        ),
        "tutorials 03 and 04",
        3.5,
    ),
    "12": Lesson(
        (
            "say when distillation does not help, with intervals",
            "write a one-line test for each of ten published mistakes",
        ),
        "tutorials 03 and 04",
        3.5,
    ),
    "13": Lesson(
        (
            "run the same step on a GPU, and check that it computes the same",
            "derive how several processes share a batch",
            "measure time so that the comparison holds",
        ),
        "tutorial 01; no GPU is needed",
        2.5,
    ),
    "14": Lesson(
        (
            "train and distil a language model of letters",
            "derive forward KL, reverse KL and JSD, and say what each asks for",
            "translate between the names and options of other libraries",
        ),
        "tutorials 02 to 04",
        4.5,
        (
            "训练并蒸馏一个字母级的语言模型",
            "推导前向 KL、反向 KL 和 JSD，并说出各自要求什么",
            "弄清别的库里这些名称和选项的对应关系",
        ),
        "第 02 到 04 课",
    ),
}
