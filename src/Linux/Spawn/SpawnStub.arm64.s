// As SpawnStub.x64.s, which explains it. x0 clone_args, x1 size, x2 first step, x3 report.
spawn:
        stp     x19, x20, [sp, #-32]!
        stp     x21, x22, [sp, #16]
        mov     x19, x2
        mov     x20, x3
        mov     x21, x0
        mov     x22, x1
        mov     x0, #0                  // SIG_BLOCK
        add     x1, x20, #16
        add     x2, x20, #24
        mov     x3, #8
        mov     x8, #135                // rt_sigprocmask
        svc     #0
        ldr     x0, [x20, #32]
        tbnz    x0, #63, clone
        mov     x1, #0x20000000         // CLONE_NEWPID
        mov     x8, #268                // setns
        svc     #0
        tbnz    x0, #63, unblock
clone:
        mov     x0, x21
        mov     x1, x22
        mov     x8, #435                // clone3
        svc     #0
        cbz     x0, next
        ldr     x1, [x20, #32]
        tbnz    x1, #63, unblock
        mov     x21, x0
        ldr     x0, [x20, #40]
        mov     x1, #0x20000000         // CLONE_NEWPID
        mov     x8, #268                // setns
        svc     #0
        mov     x0, x21
unblock:
        mov     x21, x0
        mov     x0, #2                  // SIG_SETMASK
        add     x1, x20, #24
        mov     x2, #0
        mov     x3, #8
        mov     x8, #135                // rt_sigprocmask
        svc     #0
        mov     x0, x21
        ldp     x21, x22, [sp, #16]
        ldp     x19, x20, [sp], #32
        ret

next:
        ldr     x21, [x19, #64]         // indirect
        ldr     x0, [x19, #8]
        tbz     x21, #0, 1f
        ldr     x0, [x0]
1:      ldr     x1, [x19, #16]
        tbz     x21, #1, 2f
        ldr     x1, [x1]
2:      ldr     x2, [x19, #24]
        tbz     x21, #2, 3f
        ldr     x2, [x2]
3:      ldr     x3, [x19, #32]
        tbz     x21, #3, 4f
        ldr     x3, [x3]
4:      ldr     x4, [x19, #40]
        tbz     x21, #4, 5f
        ldr     x4, [x4]
5:      ldr     x5, [x19, #48]
        ldr     x8, [x19]
        svc     #0
        str     x0, [x19, #56]          // result
        cmn     x0, #4095
        b.hs    failed
        ldr     x21, [x19, #80]         // on_success
        add     x19, x19, x21
        b       next
failed:
        neg     x0, x0
        cmp     x0, #63
        b.hi    die
        ldr     x21, [x19, #72]         // tolerated
        lsr     x21, x21, x0
        tbz     x21, #0, die
        ldr     x21, [x19, #88]         // on_failure
        add     x19, x19, x21
        b       next
die:
        str     x19, [x20]
        str     x0, [x20, #8]
        mov     x0, #255
        mov     x8, #94                 // exit_group
        svc     #0
        mov     x0, #255
        mov     x8, #93                 // exit, should a filter refuse the other
        svc     #0
        brk     #0
