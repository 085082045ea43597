# PVH entry: 32-bit protected mode, paging off, ebx = address of hvm_start_info (Xen's
# docs/misc/pvh.pandoc). Sets up 64-bit mode and calls `image_main(start_info)`.
#
# The first 4 GiB are mapped one to one by 2 MiB pages. The stack is mapped a second time at 4 GiB + 2 MiB,
# with nothing below it, so that an overflow faults.

.set PRESENT_WRITE, 0x3
.set LARGE, 0x80
.set PAGE, 4096

# The ELF note that tells the loader where to enter: name "Xen", type 18 (XEN_ELFNOTE_PHYS32_ENTRY).
.section .note.Xen, "a", @note
.balign 4
    .long 4
    .long 8
    .long 18
    .asciz "Xen"
    .quad pvh_start

.section .text.boot, "ax", @progbits
.code32
.global pvh_start
pvh_start:
    cli
    cld
    # Clear .bss, which holds the page tables.
    mov edi, offset bss_start
    mov ecx, offset bss_end
    sub ecx, edi
    xor eax, eax
    rep stosb

    # Level 4 -> level 3; level 3 -> four tables of 1 GiB each and one for the stack.
    mov dword ptr [level4], offset level3 + PRESENT_WRITE
    mov eax, offset level2 + PRESENT_WRITE
    xor ecx, ecx
2:  mov [level3 + ecx * 8], eax
    add eax, PAGE
    inc ecx
    cmp ecx, 5
    jb 2b

    # 2048 pages of 2 MiB.
    mov eax, PRESENT_WRITE + LARGE
    xor ecx, ecx
3:  mov [level2 + ecx * 8], eax
    add eax, 0x200000
    inc ecx
    cmp ecx, 2048
    jb 3b

    # The stack at 4 GiB + 2 MiB.
    mov dword ptr [level2 + 4 * PAGE + 8], offset stack_start + PRESENT_WRITE + LARGE

    # SSE (OSFXSR, OSXMMEXCPT) and PAE; long mode and no-execute; paging, write protection, FPU without emulation.
    mov eax, cr4
    or eax, 0x620
    mov cr4, eax
    mov eax, offset level4
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, cr0
    and eax, ~0x4
    or eax, 0x80010022
    mov cr0, eax

    lgdt [boot_gdt_pointer]
    # The far jump `ljmp 8:long_start` as bytes, which does not depend on the assembler's Intel syntax.
    .byte 0xea
    .long long_start
    .word 8

.code64
long_start:
    xor eax, eax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    movabs rsp, 0x100400000
    xor ebp, ebp
    mov edi, ebx
    call image_main
5:  hlt
    jmp 5b

.section .rodata.boot, "a", @progbits
.balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff # 64-bit code
boot_gdt_pointer:
    .word . - boot_gdt - 1
    .long boot_gdt

.section .bss.boot, "aw", @nobits
.balign 4096
level4: .skip PAGE
level3: .skip PAGE
level2: .skip 5 * PAGE
