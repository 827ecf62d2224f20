r"""The loss of each method, typeset: what the head of its page shows. The derivation below it is its docstring's.

$z$ are the student's logits, $v$ the teacher's, $p = \mathrm{softmax}(z)$, $q = \mathrm{softmax}(v)$, a raised $T$
marks a temperature, $y$ is the one-hot label, $w$ the soft weight, $\langle\cdot\rangle$ the mean over the batch.
"""

FORMULAS = {
    "kd": (
        r"L = (1 - w)\,\mathrm{CE}(y, p) + w\,T^2\,\mathrm{CE}(q^T, p^T)",
        r"\frac{\partial L}{\partial z} = \frac{(1 - w)(p - y) + w\,T\,(p^T - q^T)}{B}",
    ),
    "logits": (
        r"L = (1 - w)\,\mathrm{CE}(y, p) + \frac{w}{B K} \sum_{ik} (z_{ik} - v_{ik})^2",
        r"\frac{\partial L}{\partial z} = \frac{(1 - w)(p - y) + 2 w (z - v) / K}{B}",
    ),
    "dkd": (
        r"L = \mathrm{CE}(y, p) + T^2 (\alpha\,\mathrm{TCKD} + \beta\,\mathrm{NCKD})",
        r"\mathrm{KL}(q^T \,\|\, p^T) = \mathrm{TCKD} + (1 - q^T_t)\,\mathrm{NCKD}",
    ),
    "dist": (
        r"L = \mathrm{CE}(y, p) + \tau^2 \left[ \beta \big(1 - \langle \rho(P_{i\cdot}, Q_{i\cdot}) \rangle_i\big)"
        r" + \gamma \big(1 - \langle \rho(P_{\cdot k}, Q_{\cdot k}) \rangle_k\big) \right]",
        r"P = \mathrm{softmax}(z/\tau), \quad Q = \mathrm{softmax}(v/\tau), \quad \rho \text{ Pearson's correlation}",
    ),
    "standardised": (
        r"Z(z) = \frac{z - \bar z}{\sigma}, \qquad L = a\,\mathrm{CE}(y, p)"
        r" + b\,T^2\,\mathrm{KL}\big(\mathrm{softmax}(Z(v)/T) \,\|\, \mathrm{softmax}(Z(z)/T)\big)",
    ),
    "annealing": (
        r"\text{first } L = \frac{1}{B K} \sum_{ik} \big(z_{ik} - \Phi(T)\,v_{ik}\big)^2, \quad"
        r" \Phi(T) = 1 - \frac{T - 1}{T_{\max}}; \qquad \text{then } L = \mathrm{CE}(y, p)",
    ),
    "top-k": (
        r"L = (1 - w)\,\mathrm{CE}(y, p) + w \big\langle \textstyle\sum_j t_j (\log t_j - \log p_j) \big\rangle",
        r"t_j = q_j \text{ where known}, \qquad t_j = Q\,\frac{p_j}{P} \text{ elsewhere}",
    ),
    "reverse-kl": (
        r"L = (1 - w)\,\mathrm{CE}(y, p) + w\,T^2 \langle \mathrm{KL}(p^T \,\|\, q^T) \rangle",
        r"\frac{\partial L}{\partial z} = \frac{(1 - w)(p - y) + w\,T\,p^T (g - \mathrm{KL})}{B},"
        r" \qquad g = \log \frac{p^T}{q^T}",
    ),
    "jsd": (
        r"\mathrm{JSD}_\beta = \beta\,\mathrm{KL}(q \,\|\, m) + (1 - \beta)\,\mathrm{KL}(p \,\|\, m),"
        r" \qquad m = \beta q + (1 - \beta) p",
        r"\frac{\partial\,\mathrm{JSD}_\beta}{\partial z_j} = \frac{1 - \beta}{T}\,p_j"
        r" \Big(\log \frac{p_j}{m_j} - \mathrm{KL}(p \,\|\, m)\Big)",
    ),
    "skewed": (
        r"D = \mathrm{KL}\big(q \,\|\, \alpha q + (1 - \alpha) p\big) \quad \text{or} \quad"
        r" D = \mathrm{KL}\big(p \,\|\, (1 - \alpha) q + \alpha p\big)",
        r"L = (1 - w)\,\mathrm{CE}(y, p) + w\,T^2 \langle D \rangle",
    ),
    "fitnets": (
        r"\text{first } L = \frac{1}{2 B} \sum_i \| h_i R + b - t_i \|^2, \qquad"
        r" \text{then } L = (1 - w)\,\mathrm{CE}(y, p) + w\,T^2\,\mathrm{CE}(q^T, p^T)",
    ),
    "rkd": (
        r"L = \mathrm{CE}(y, p) + 25\,\Big\langle h\Big(\frac{d_{ij}}{\mu} - \frac{D_{ij}}{M}\Big) \Big\rangle_{ij}"
        r" + 50\,\big\langle h(a_{ijk} - A_{ijk}) \big\rangle_{ijk}",
    ),
    "sp": (
        r"L = \mathrm{CE}(y, p) + \frac{\gamma}{B^2} \sum_{ij} (u_{ij} - U_{ij})^2, \qquad"
        r" u_i = \frac{G_i}{\| G_i \|}, \quad G = f f^\top",
    ),
    "pkt": (
        r"L = \mathrm{CE}(y, p) + \frac{\gamma}{B^2} \sum_{ij} q_{ij} \log \frac{q_{ij}}{p_{ij}}, \qquad"
        r" p_{ij} = \frac{S_{ij}}{\sum_k S_{ik}}, \quad S = \frac{u u^\top + 1}{2}",
    ),
    "ensemble": (
        r"L = (1 - w)\,\mathrm{CE}(y, p) + w\,T^2\,\mathrm{CE}(\bar q^T, p^T), \qquad"
        r" \bar q^T \text{ the mean of several teachers}",
    ),
    "assistants": (r"\text{teacher} \;\to\; \text{assistant} \;\to\; \cdots \;\to\; \text{student}",),
    "mutual": (
        r"L_1 = \mathrm{CE}(y, p_1) + w\,\mathrm{KL}(p_2 \,\|\, p_1), \qquad"
        r" L_2 = \mathrm{CE}(y, p_2) + w\,\mathrm{KL}(p_1 \,\|\, p_2)",
        r"\frac{\partial L_1}{\partial z_1} = \frac{(p_1 - y) + w (p_1 - p_2)}{B}, \qquad"
        r" \frac{\partial L_2}{\partial z_2} = \frac{(p_2 - y) + w (p_2 - p_1)}{B}",
    ),
    "born-again": (
        r"L = (1 - w)\,\mathrm{CE}(y, p) + w\,\mathrm{CE}(q, p), \qquad q \text{ the parent's, of the same size}",
    ),
    "mean-teacher": (
        r"L = \mathrm{CE}(y, p) + \frac{w(t)}{B K} \sum_{ik} (p_{ik} - q_{ik})^2, \qquad"
        r" \bar\theta \leftarrow d\,\bar\theta + (1 - d)\,\theta",
    ),
    "sequence-level": (
        r"L = -\frac1B \sum_i \log p_i[\tilde y_i], \quad \tilde y_i \sim q_i; \qquad"
        r" \mathbb{E}\Big[\frac{\partial L}{\partial z}\Big] = \frac{p - q}{B}",
    ),
    "on-policy": (
        r"L = T^2\,\mathbb{E}_{c \sim \pi}\, D(q^T, p^T), \qquad"
        r" D = \mathrm{KL}(q \,\|\, p) \text{ or } \mathrm{KL}(p \,\|\, q)",
    ),
    "data-free": (
        r"L_G = a\,\mathrm{CE}(\arg\max v, v) + b \sum_k \bar q_k \log \bar q_k - c\,\langle |h| \rangle"
        r" - d\,\langle |v - z| \rangle",
    ),
    "self-supervised": (
        r"L = -\frac1B \sum_{ij} \mathrm{softmax}(r_i)_j \log \mathrm{softmax}(s_i)_j, \qquad"
        r" s_i = \frac{(A u_i,\; w_i \cdot u_i)}{\tau_S}, \quad r_i = \frac{(A w_i,\; w_i \cdot w_i)}{\tau_T}",
    ),
    "label-smoothing": (
        r"L = (1 - \varepsilon)\,\mathrm{CE}(y, p) + \varepsilon\,\mathrm{CE}(1/K, p)",
        r"\frac{\partial L}{\partial z} = \frac{p - (1 - \varepsilon)\,y - \varepsilon/K}{B}",
    ),
    "virtual-teacher": (
        r"L = (1 - w)\,\mathrm{CE}(y, p) + w\,\mathrm{CE}(q, p), \qquad q = \mathrm{softmax}(u/\tau), \quad"
        r" u_t = a, \quad u_k = \frac{1 - a}{K - 1}",
        r"\frac{\partial L}{\partial z} = \frac{(1 - w)(p - y) + w (p - q)}{B}",
    ),
}
