"""Read and grade submissions, and write the results in the formats that instructors need."""
