/* The order of what a search finds. Sphinx's own numbers, except that a name or a title that holds the words
   comes first, and a lecture comes after a page that fits as well: lectures have most words in some heading. */
var Scorer = {
  score: ([page, , , , score, , kind]) => score + (kind === "text" ? 0 : 10) - (page.startsWith("tutorials/") ? 1 : 0),
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
