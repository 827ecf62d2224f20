"""From what a student handed in to points: reading it, grading it, and the formats that instructors want."""
