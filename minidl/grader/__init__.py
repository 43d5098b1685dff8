"""The grader behind `minidl check OP STUDENT.py`. Read in this order:

    grade.py        the laws over drawn problems, and the shrinking of what breaks them
    submission.py   a student's file as a Kernel, and the problems that its signatures can express
    parameters.py   what `forward` and `backward` ask for, read from their signatures
    worker.py       the parent's end: one process per half, under limits, never trusted
    child.py        the child's end: it loads the file and computes, and that is all it does
    wire.py         the frames between them: JSON and raw bytes, never pickle
    report.py       what is printed;  template.py  the file that a student starts from

Two halves, two processes: forward and backward share no memory, so what backward needs must travel in `saved`.
"""
